"""An impatient customer: asks, waits, writes again, loads the page anew, and leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from forebay.operations.planning.patience import Wait
from forebay.rehearsal.customers import Visit

_AGAIN = ("hello??", "在吗？")


class Question(NamedTuple):
    """What became of one question, in seconds on a steady clock."""

    asked_at: float
    answered_at: float | None
    """None where the customer had left, or got no answer."""


def since(questions: Iterable[Question], began: float) -> tuple[Question, ...]:
    """The same with their moments counted from ``began``."""
    return tuple(
        Question(asked - began, None if answered is None else answered - began) for asked, answered in questions
    )


class Door(Protocol):
    """Where customers ask: a queue, or a plain service."""

    def ask(self, visit: Visit, text: str) -> asyncio.Future[bool]:
        """Sends words of a customer; the future tells whether they were answered, and never fails."""

    def reload(self, visit: Visit, text: str, asked: Sequence[asyncio.Future[bool]]) -> Sequence[asyncio.Future[bool]]:
        """The page was loaded anew: what it waits for from now on."""

    def take_back(self, visit: Visit) -> None:
        """What the customer asked is no longer wanted."""


class ImpatientCustomer:
    """One customer at one door."""

    def __init__(self, door: Door, visit: Visit, wait: Wait) -> None:
        self._door, self._visit, self._wait = door, visit, wait

    async def ask(self, text: str) -> Question:
        """Asks, and waits as long as they can for an answer to any of what they wrote."""
        wait, asked_at = self._wait, time.monotonic()
        waiting = [self._door.ask(self._visit, text)]
        moments = [(after, False) for after in wait.again_after_s]
        moments += [(wait.reloads_after_s, True)] if wait.reloads_after_s is not None else []
        for after, reloads in sorted(moments):
            if await _answered(waiting, asked_at + after):
                return Question(asked_at, time.monotonic())
            if reloads:
                waiting = list(self._door.reload(self._visit, text, waiting))
            else:
                waiting.append(self._door.ask(self._visit, _AGAIN[not text.isascii()]))
        if await _answered(waiting, asked_at + wait.leaves_after_s, nothing_more=True):
            return Question(asked_at, time.monotonic())
        if wait.tells:
            self._door.take_back(self._visit)
        return Question(asked_at, None)


async def _answered(waiting: Sequence[asyncio.Future[bool]], until: float, *, nothing_more: bool = False) -> bool:
    """Waits for an answer until then. A refusal is none; after the last one only who will do something more waits on."""
    while True:
        if any(each.done() and each.result() for each in waiting):
            return True
        left, pending = until - time.monotonic(), [each for each in waiting if not each.done()]
        if left <= 0 or (nothing_more and not pending):
            return False
        if pending:
            await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(left)
