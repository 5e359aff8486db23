"""How fast a count that only grows has grown lately. Pure: times are arguments."""

from __future__ import annotations

from collections import deque

SPAN_S = 3.0
"""Over which it is measured: Kafka hands records over in batches, so that one second alone jumps."""


class Rate:
    """Note the count about once a second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, count: int, now: float) -> None:
        """The count is this now; where it is less than before the topic was made anew."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now - SPAN_S:
            self._seen.popleft()

    @property
    def latest(self) -> float:
        """How much it grew a second; 0 before the second note."""
        if len(self._seen) < 2:
            return 0.0
        (began, before), (at, count) = self._seen[0], self._seen[-1]
        return (count - before) / (at - began) if at > began else 0.0
