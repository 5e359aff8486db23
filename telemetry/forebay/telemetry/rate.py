"""How fast a count that only grows has grown lately. Pure: times are arguments."""

from __future__ import annotations

from collections import deque


class Rate:
    """Growth a second, measured over the last ``span_s`` seconds. Note the count about once a second."""

    __slots__ = ("_notes", "_span_s")

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._notes: deque[tuple[float, int]] = deque()

    def note(self, count: int, now: float) -> float:
        """The count at ``now``, in seconds of any steady clock; returns `latest`.

        A count below the one before is of something new, such as a topic that was deleted and made again.
        """
        notes = self._notes
        if notes and count < notes[-1][1]:
            notes.clear()
        notes.append((now, count))
        while len(notes) > 2 and notes[1][0] <= now - self._span_s:
            notes.popleft()
        return self.latest

    @property
    def latest(self) -> float:
        """Growth a second; 0 before the second note."""
        if len(self._notes) < 2:
            return 0.0
        (began, before), (at, count) = self._notes[0], self._notes[-1]
        return (count - before) / (at - began) if at > began else 0.0
