"""A simulated provider: how many calls it takes, to which the workers keep. Pure."""

from __future__ import annotations

import math
from collections import deque


class SimulatedProvider:
    """A sliding window over the calls that began (see docs/flow.md), and a bound on those at once."""

    def __init__(self, calls_a_window: float, window_s: float, at_once: int | None) -> None:
        """``calls_a_window`` may be infinite; one call fits any window."""
        self._most = max(1.0, calls_a_window)
        self._window_s = window_s
        self._at_once = math.inf if at_once is None else at_once
        self._leaves: deque[float] = deque()  # when each call leaves the window
        self._in_flight = 0
        self.limited = math.isfinite(self._most) or math.isfinite(self._at_once)
        """Whether there is any limit."""

    def admits_at(self, now: float) -> float:
        """When the next call may begin: now, or later; infinity where first another has to end."""
        if self._in_flight >= self._at_once:
            return math.inf
        while self._leaves and self._leaves[0] <= now:
            self._leaves.popleft()
        return now if len(self._leaves) + 1 <= self._most else self._leaves[0]

    def begin(self, now: float) -> None:
        """A call begins."""
        self._in_flight += 1
        if math.isfinite(self._most):
            self._leaves.append(now + self._window_s)

    def end(self) -> None:
        """A call ended, well or not."""
        self._in_flight -= 1
