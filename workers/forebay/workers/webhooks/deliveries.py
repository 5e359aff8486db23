"""Deliveries: the handler that sends each reply to its destination until it is taken, refused, or too old."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from forebay.schemas import Failure, Reason, WhenBusy
from forebay.workers import metrics
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.publication import Publication
from forebay.workers.engine.turn_group import TurnGroup
from forebay.workers.flow.breaker import BreakerPolicy
from forebay.workers.flow.retry import Circumstances, RetryPolicy, Tries
from forebay.workers.models import Trouble

from .attempt import Attempt
from .destinations import Destination, Destinations
from .inbound_reply import InboundReply
from .target import Target
from .webhook import body_of

log = structlog.get_logger()

RETRY = RetryPolicy(base_s=1.0, cap_s=60.0, retry_after_cap_s=3600.0)
_LOOK_S = 0.25
"""How often it is looked whether the request that tries for all has ended."""


class Sends(Protocol):
    """Sends a webhook once; `Sender` is one."""

    async def post(self, destination: Destination, webhook_id: str, body: bytes) -> Attempt:
        """What came of it. Does not raise for what a server does."""

    async def close(self) -> None:
        """Closes all connections."""


@dataclass(frozen=True, slots=True)
class DeliveryBounds:
    """What bounds the work."""

    ttl_s: float = 3600.0
    """Age of a reply after which it is not tried again, in seconds."""
    most_waiting: int = 2_500
    """Replies of one destination that is down that wait in memory."""
    at_once: int = 20
    """Requests to one destination under way."""


class Deliveries:
    """Delivers replies: those of one conversation one after the other, those of one destination apart from the others."""

    when_busy: WhenBusy = "enqueue"

    def __init__(
        self,
        destinations: Destinations,
        sender: Sends,
        bounds: DeliveryBounds = DeliveryBounds(),
        *,
        retry: RetryPolicy = RETRY,
        breaker: BreakerPolicy = BreakerPolicy(failures=5, open_s=10.0),
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._targets = {
            tenant: Target(tenant, destination, bounds.at_once, breaker) for tenant, destination in destinations.named()
        }
        self._sender, self._bounds, self._retry, self._uniform = sender, bounds, retry, uniform
        self._stopping = False
        self._idle_tasks: set[asyncio.Task[object]] = set()

    def ready(self) -> str | None:
        """Always: a destination that is away holds up its own replies only."""
        return None

    def permits(self) -> int:
        """As many as the settings say."""
        return 1_000_000

    def drop(self, conversation_id: str) -> None:
        """It holds nothing of a conversation but the replies that are on their way."""

    async def close(self) -> None:
        """Closes the connections."""
        await self._sender.close()

    def stop(self) -> None:
        """Ends what only waits: those replies are left to whoever comes next."""
        self._stopping = True
        for task in self._idle_tasks:
            task.cancel()

    def refresh_metrics(self) -> None:
        """Sets the gauges to what is true now."""
        now = asyncio.get_running_loop().time()
        for target in self._targets.values():
            state = target.breaker.state(now)
            metrics.WEBHOOK_BREAKER.labels(target.label).set({"closed": 0, "half_open": 0.5, "open": 1}[state])
            metrics.WEBHOOKS_WAITING.labels(target.label).set(len(target.held))
            oldest = min((reply.timestamp for reply in target.held), default=None)
            age_s = 0.0 if oldest is None else max(0.0, time.time() - oldest / 1000)
            metrics.OLDEST_WEBHOOK.labels(target.label).set(age_s)

    async def answer(self, group: TurnGroup) -> Sequence[Publication]:
        """Delivers one reply; what is published is a dead letter, or nothing."""
        await self._leave_when_stopping()
        (inbound,) = group.turns
        assert isinstance(inbound, InboundReply)
        failure = inbound.failure
        target = self._targets.get(inbound.tenant)
        if failure is None:
            outcome, failure = await self._settle(inbound, target, group.permit)
        else:
            outcome = "dead_letter"
        label = target.label if target else "(none)"
        metrics.WEBHOOKS.labels(label, outcome).inc()
        if failure is not None:
            log.warning(
                "webhook.dead_letter",
                destination=label,
                partition=inbound.partition,
                offset=inbound.offset,
                reason=failure.reason.value,
                message=failure.message,
            )
        return [Publication(None, failure, "", None)]

    async def _settle(self, inbound: InboundReply, target: Target | None, permit: Permit) -> tuple[str, Failure | None]:
        if target is None or inbound.reply().outcome not in target.destination.events:
            return "skipped", None
        if len(target.held) >= self._bounds.most_waiting and target.down(asyncio.get_running_loop().time()):
            most = self._bounds.most_waiting
            message = f"{target.destination.host} is down, and {most:,} of its replies wait already"
            return "dead_letter", Failure(Reason.DESTINATION_DOWN, message)
        target.held[inbound] = None
        try:
            failure = await self._deliver(inbound, target, permit)
        finally:
            del target.held[inbound]
        return ("delivered" if failure is None else "dead_letter"), failure

    async def _deliver(self, inbound: InboundReply, target: Target, permit: Permit) -> Failure | None:
        """Tries until it is settled; returns why it never will be."""
        reply, tries, last = inbound.reply(), Tries(), "it was down all the time"
        body = body_of(reply)
        while (attempt := await self._attempt(inbound, target, permit, reply.reply_id, body)) is not None:
            if attempt.trouble is None:
                return None
            tries.failures += 1
            last = attempt.says
            if attempt.trouble is Trouble.REJECTED:
                message = f"{target.destination.host}: {last}"
                return Failure(Reason.REJECTED_BY_DESTINATION, message, tries.failures)
            # Its age alone ends it: a server that is away would else fill the dead letters.
            around = Circumstances(self._left_s(inbound), attempt.retry_after_s, others=False, fails_others=True)
            following = self._retry.after(attempt.trouble, tries, around, self._uniform())
            if following.step == "give_up":
                break
            await self._rest(permit, following.delay_s)
        message = f"{target.destination.host} has not taken it within {self._bounds.ttl_s:g} s: {last}"
        return Failure(Reason.RETRIES_EXHAUSTED, message, tries.failures)

    async def _attempt(
        self, inbound: InboundReply, target: Target, permit: Permit, webhook_id: str, body: bytes
    ) -> Attempt | None:
        """One request, when the destination has a slot and admits it; None when the reply gets too old before."""
        # A destination that works and is slow may hold permits, beyond a bound: so its backlog stays in Kafka.
        if target.slots.locked() and len(target.held) < self._bounds.most_waiting:
            permit.give_back()
        async with self._idle():
            await target.slots.acquire()
        try:
            if not await self._admitted(inbound, target, permit):
                return None
            return await self._post(target, webhook_id, body)
        finally:
            target.slots.release()

    async def _admitted(self, inbound: InboundReply, target: Target, permit: Permit) -> bool:
        """Waits, without a permit, until a request may begin."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            if (at := target.admits_at(now)) <= now:
                async with self._idle():
                    await permit.regain()
                if target.admits_at(loop.time()) <= loop.time():
                    return True
            elif self._left_s(inbound) <= 0:
                return False
            else:
                await self._rest(permit, min(at - now, _LOOK_S))

    async def _post(self, target: Target, webhook_id: str, body: bytes) -> Attempt:
        loop = asyncio.get_running_loop()
        began = loop.time()
        ticket = target.breaker.admit(began)
        attempt: Attempt | None = None
        try:
            attempt = await self._sender.post(target.destination, webhook_id, body)
        finally:
            if attempt is None:
                target.breaker.dropped(ticket)
        now = loop.time()
        metrics.WEBHOOK_SECONDS.labels(target.label, attempt.trouble or "").observe(now - began)
        if target.settle(ticket, attempt, now):
            log.warning(
                "webhook.breaker_open",
                destination=target.label,
                host=target.destination.host,
                reason=target.breaker.reason,
            )
        return attempt

    async def _rest(self, permit: Permit, seconds: float) -> None:
        permit.give_back()
        async with self._idle():
            await asyncio.sleep(seconds)

    def _left_s(self, inbound: InboundReply) -> float:
        return inbound.timestamp / 1000 + self._bounds.ttl_s - time.time()

    @asynccontextmanager
    async def _idle(self) -> AsyncIterator[None]:
        """A wait that may be broken off: nothing is on its way."""
        await self._leave_when_stopping()
        task = asyncio.current_task()
        assert task is not None
        self._idle_tasks.add(task)
        try:
            yield
        finally:
            self._idle_tasks.discard(task)

    async def _leave_when_stopping(self) -> None:
        """Ends this task as the engine's own cancellation would: the reply is neither delivered nor a dead letter."""
        task = asyncio.current_task()
        if self._stopping and task is not None:
            task.cancel()
            await asyncio.sleep(0)
