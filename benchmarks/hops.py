"""How far one plain turn goes through our code: calls, files, file switches and depth, and its time.

    python -m benchmarks.hops

One turn without tools, FAQ and history is answered through `Answering.answer`: SQLite store, a model that answers at once
in memory, no traces. It is followed by `sys.setprofile` after some turns that warm the caches, and timed without it.
A switch is a call into another of our files than the call before it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
import traceback
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import structlog
from rich.console import Console

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
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.concurrency import AdaptiveLimit
from forebay.workers.flow.upstream import Upstream
from forebay.workers.models import CatalogueModel, Completion, OnText, Prompt

ROOTS = ("schemas", "telemetry", "producers", "workers")
REPOSITORY = Path(__file__).resolve().parent.parent
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
        await self.answering.answer(*self.prepared())

    def prepared(self) -> tuple[InboundRecord, Permit]:
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
        return inbound, Permit(self._lanes, name, lambda: None)

    async def close(self) -> None:
        await self.answering.close()
        await self.store.close()


class Profile:
    """Notes the calls in our source roots while it is entered, in their order."""

    def __init__(self) -> None:
        self.calls: list[CodeType] = []
        self.depth = 0
        self._ours: dict[CodeType, bool] = {}
        self._begun: set[FrameType] = set()

    @property
    def files(self) -> set[str]:
        """The files that were called into."""
        return {code.co_filename for code in self.calls}

    @property
    def switches(self) -> int:
        """How often a call was into another file than the call before it."""
        return sum(one.co_filename != other.co_filename for one, other in pairwise(self.calls))

    def __enter__(self) -> Self:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        # What is resumed after a wait was called before.
        if event == "call" and self._is_ours(frame.f_code) and frame not in self._begun:
            self._begun.add(frame)
            self.calls.append(frame.f_code)
            self.depth = max(self.depth, sum(self._is_ours(one.f_code) for one, _ in traceback.walk_stack(frame)))

    def _is_ours(self, code: CodeType) -> bool:
        if code not in self._ours:
            file = Path(code.co_filename)
            inside = file.is_relative_to(REPOSITORY) and file.relative_to(REPOSITORY).parts[0] in ROOTS
            self._ours[code] = inside and code.co_name not in ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
        return self._ours[code]


async def measured() -> tuple[Profile, float]:
    """(the calls of one turn, microseconds of a turn without the profiler)."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(Path(folder))
        try:
            for _ in range(WARM_UP):
                await answers.one()
            turn = answers.prepared()
            with Profile() as profile:
                await answers.answering.answer(*turn)
            rounds = []
            for _ in range(ROUNDS):
                turns = [answers.prepared() for _ in range(TIMED)]
                began = time.process_time()
                for turn in turns:
                    await answers.answering.answer(*turn)
                rounds.append((time.process_time() - began) / TIMED * 1e6)
        finally:
            await answers.close()
    return profile, statistics.median(rounds)


def main() -> None:
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    profile, microseconds = asyncio.run(measured())
    functions = set(profile.calls)
    console = Console(width=140, highlight=False)
    for file in sorted(profile.files):
        names = sorted(code.co_qualname for code in functions if code.co_filename == file)
        console.print(f"{Path(file).relative_to(REPOSITORY)}: {', '.join(names)}", markup=False)
    console.print(
        f"\n{len(profile.calls)} calls of {len(functions)} functions in {len(profile.files)} files, "
        f"{profile.switches} file switches, depth {profile.depth}; {microseconds:.0f} us of CPU a turn"
    )


if __name__ == "__main__":
    main()
