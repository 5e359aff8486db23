"""Who waits for which turns, in one process. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from forebay.schemas import Delta, Reply


class Waiter(asyncio.Queue[Delta | Reply]):
    """What one who waits was told and has not taken yet."""

    def __init__(self, turn_id: str) -> None:
        super().__init__()
        self.turn_ids = [turn_id]
        """The turn, then those that it was merged into."""


class Waiters:
    """Hands each delta and reply to those who wait for its turn.

    Who waits for a turn that was merged also hears the turn it was merged into, whose reply comes right behind.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, set[Waiter]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @contextmanager
    def waiting(self, turn_id: str) -> Iterator[Waiter]:
        """Hears the turn while it is entered."""
        waiter = Waiter(turn_id)
        self._waiting.setdefault(turn_id, set()).add(waiter)
        try:
            yield waiter
        finally:
            for known in waiter.turn_ids:
                own = self._waiting.get(known, set())
                own.discard(waiter)
                if not own:
                    self._waiting.pop(known, None)

    def tell(self, heard: Delta | Reply) -> None:
        """Gives it to those who wait for it."""
        for waiter in list(self._waiting.get(heard.turn_id, ())):
            waiter.put_nowait(heard)
            if isinstance(heard, Reply) and heard.merged_into is not None:
                # Here and not by its reader, who runs when the next reply was told already.
                waiter.turn_ids.append(heard.merged_into)
                self._waiting.setdefault(heard.merged_into, set()).add(waiter)
