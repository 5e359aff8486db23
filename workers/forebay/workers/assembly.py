"""A worker put together from its settings: its assistant's models, tools and FAQ, and its limits."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from forebay.schemas import SettingsError

from . import metrics
from .answering.answering import Answering
from .answering.deltas import delta_streams
from .answering.upstreams import connect
from .assistants import Assistant
from .assistants.faq_file import FaqFile
from .assistants.mcp.sessions import McpSessions
from .assistants.routing import Routing
from .conversations import Store
from .engine.handler import SendDelta
from .flow.budget import Budget, Ceilings
from .flow.chain import Chain
from .flow.hedge import Hedge
from .flow.retry import RetryPolicy
from .flow.shared_limits import SharedLimits
from .models import Clients
from .settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts that are made before a worker is; `answering` is its handler."""

    assistant: Assistant
    settings: WorkerSettings
    routing: Routing
    chain: Chain
    budget: Budget
    faq: FaqFile | None
    retry: RetryPolicy

    @classmethod
    async def of(
        cls,
        assistant: Assistant,
        settings: WorkerSettings,
        closing: AsyncExitStack,
        retry: RetryPolicy = RetryPolicy(),
    ) -> Assembly:
        """Makes them; ``closing`` ends them. Raises SettingsError."""
        chain, budget = await _connected(assistant, settings, closing), Budget(settings.ceilings())
        if budget.ceilings != Ceilings() and (unpriced := [u.name for u in chain.upstreams if u.known.price is None]):
            raise SettingsError(
                f"FOREBAY_BUDGET_...: the price of {unpriced[0]} is not known; add it by FOREBAY_CATALOGUE"
            )
        routing = Routing(assistant, await closing.enter_async_context(McpSessions.of(assistant)))
        faq = FaqFile(Path(assistant.faq), time.monotonic()) if assistant.faq else None
        return cls(assistant, settings, routing, chain, budget, faq, retry)

    def answering(self, store: Store, worker_id: str, send_delta: SendDelta) -> Answering:
        """What answers the turns of a worker."""
        return Answering(
            assistant=self.assistant,
            routing=self.routing,
            chain=self.chain,
            store=store,
            turn_ttl_s=self.settings.turn_ttl_s,
            deltas=delta_streams(send_delta),
            worker=worker_id,
            faq=self.faq,
            retry=self.retry,
            budget=self.budget,
            hedge=Hedge(self.settings.hedge_share) if self.settings.hedge_share else None,
        )

    def refresh_metrics(self) -> None:
        """Sets the gauges to what is true now."""
        self.chain.refresh_metrics()
        metrics.BUDGET_USED.set(self.budget.used(time.time()))


async def _connected(assistant: Assistant, settings: WorkerSettings, closing: AsyncExitStack) -> Chain:
    """The assistant's models, and Redis where the fleet shares their limits."""
    clients = Clients(settings.connections, settings.timeouts())
    closing.push_async_callback(clients.close)
    if not settings.limits:
        return connect(assistant, settings, clients)
    shared = SharedLimits(settings.limits, settings.limit_workers)
    closing.push_async_callback(shared.close)
    chain = connect(assistant, settings, clients, shared)
    await shared.reach()
    return chain
