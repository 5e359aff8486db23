"""Agenda: what happens next in a simulation, in the order of time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush


class Agenda:
    """Ends of calls, by the number of their turn, and other events at given moments."""

    def __init__(self) -> None:
        self.now = 0.0
        self._entries: list[tuple[float, int]] = []  # (when, turn), or a number below 0 of what is in `_events`
        self._events: dict[int, Callable[[], None]] = {}
        self._scheduled = 0

    @property
    def pending(self) -> bool:
        """Whether anything is to happen."""
        return bool(self._entries)

    @property
    def next_at(self) -> float:
        """When the next of them happens; there must be one."""
        return self._entries[0][0]

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Plans an event."""
        self._scheduled -= 1
        self._events[self._scheduled] = do
        heappush(self._entries, (when, self._scheduled))

    def ends_at(self, when: float, turn: int) -> None:
        """Plans the end of a turn's call."""
        heappush(self._entries, (when, turn))

    def step(self) -> int | None:
        """Goes on to the next event; returns the turn whose call ends there, or None for another event."""
        self.now, what = heappop(self._entries)
        if what >= 0:
            return what
        self._events.pop(what)()
        return None
