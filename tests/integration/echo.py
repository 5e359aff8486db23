"""A handler that answers each turn with the turn itself, for tests of what carries turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from forebay.schemas import Turn, WhenBusy, encode
from forebay.workers.engine.handler import SendDelta
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.publication import Publication
from forebay.workers.engine.turn_group import TurnGroup

Work = Callable[[Turn, Permit], Awaitable[None]]


async def nothing(_: Turn, __: Permit) -> None:
    """The work of a turn that is answered at once."""


def lasting(default_s: float, seconds: Mapping[str, float] | None = None) -> Work:
    """Work that takes some time; ``seconds`` are exceptions, by the turn's text."""

    async def wait(turn: Turn, _: Permit) -> None:
        await asyncio.sleep((seconds or {}).get(turn.text, default_s))

    return wait


class Echo:
    """Does some work for each turn and answers with the turn. It has no store: what is called twice shows in `calls`."""

    def __init__(self, work: Work = nothing, *, calls: Counter[str] | None = None, permits: int = 10_000) -> None:
        """``calls`` counts the calls by the turn's text; several handlers may share it."""
        self.calls: Counter[str] = Counter() if calls is None else calls
        self._work, self._permits = work, permits

    def __call__(self, _: SendDelta) -> Echo:
        """The same handler for every worker."""
        return self

    when_busy: WhenBusy = "enqueue"

    def ready(self) -> str | None:
        return None

    def permits(self) -> int:
        return self._permits

    def drop(self, conversation_id: str) -> None:
        """It holds nothing."""

    async def close(self) -> None:
        """Nothing was begun."""

    async def answer(self, group: TurnGroup) -> list[Publication]:
        (inbound,) = group.turns
        turn = inbound.decode()
        self.calls[turn.text] += 1
        await self._work(turn, group.permit)
        return [Publication(encode(turn, unset=False), None, turn.conversation_id, "answered")]
