"""How far one plain turn goes through our code: calls, files, file switches and depth, and its time.

    python -m benchmarks.hops

One turn without tools, FAQ and history is answered through `Answering.answer`: SQLite store, a model that answers at once
in memory, no traces. It is followed by `sys.setprofile` after some turns that warm the caches, and timed without it.
A switch is a call into another of our files than the call before it.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import structlog

from benchmarks.call_profile import Profile
from forebay.schemas import Turn, Usage, encode
from forebay.workers.answering.answering import Answering
from forebay.workers.answering.deltas import delta_streams
from forebay.workers.assistants import Assistant
from forebay.workers.assistants.routing import Routing
from forebay.workers.conversations import open_store
from forebay.workers.engine.fairness import Origin
from forebay.workers.engine.inbound import InboundRecord
from forebay.workers.engine.lanes import Lanes
from forebay.workers.engine.ledger import Ledger
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.turn_group import TurnGroup
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.concurrency import AdaptiveLimit
from forebay.workers.flow.upstream import Upstream
from forebay.workers.models import CatalogueModel, Completion, OnText, Prompt

WARM_UP, TIMED, ROUNDS = 200, 500, 7


class Immediately:
    """A model that answers without a provider."""

    name = "claude-haiku-4-5"

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        usage = Usage(input_tokens=100, output_tokens=20)
        return Completion("Yes, we deliver every day.", "end_turn", usage)


class Answers:
    """Turns, each of a conversation of its own, given to one `Answering` one after the other."""

    def __init__(self, folder: Path) -> None:
        upstream = Upstream(Immediately(), CatalogueModel(provider="anthropic"))
        assistant = Assistant()
        self.store = open_store(f"sqlite:///{folder}/hops.db")
        self.answering = Answering(
            assistant=assistant,
            routing=Routing(assistant),
            chain=Chain([[upstream]], AdaptiveLimit(50)),
            store=self.store,
            turn_ttl_s=120.0,
            deltas=delta_streams(lambda key, value: None),
            worker="hops",
        )
        self._lanes: Lanes[InboundRecord] = Lanes(50)
        self._ledger = Ledger(0)
        self._count = 0

    async def one(self) -> None:
        """Answers one more turn."""
        await self.answering.answer(self.prepared())

    def prepared(self) -> TurnGroup:
        """The next turn, with its permit."""
        self._count += 1
        name = f"c-{self._count}"
        value = encode(Turn(turn_id=f"t-{self._count}", conversation_id=name, text="Do you deliver on Sundays?"))
        now_ms = int(time.time() * 1000)
        inbound = InboundRecord(
            "chat.requests", 0, 0, now_ms, name.encode(), value, (), None, name, Origin(), len(value), self._ledger
        )
        self._lanes.offer(name, inbound, 0.0)
        self._lanes.take()
        return TurnGroup([inbound], Permit(self._lanes, name, lambda: None))

    async def close(self) -> None:
        await self.answering.close()
        await self.store.close()


async def measured() -> tuple[Profile, float]:
    """(the calls of one turn, microseconds of a turn without the profiler)."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(Path(folder))
        try:
            for _ in range(WARM_UP):
                await answers.one()
            turn = answers.prepared()
            with Profile() as profile:
                await answers.answering.answer(turn)
            rounds = []
            for _ in range(ROUNDS):
                turns = [answers.prepared() for _ in range(TIMED)]
                began = time.process_time()
                for turn in turns:
                    await answers.answering.answer(turn)
                rounds.append((time.process_time() - began) / TIMED * 1e6)
        finally:
            await answers.close()
    return profile, statistics.median(rounds)


def main() -> None:
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    profile, microseconds = asyncio.run(measured())
    profile.print(f"; {microseconds:.0f} us of CPU a turn")


if __name__ == "__main__":
    main()
