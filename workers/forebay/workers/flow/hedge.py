"""Hedging: a second call for one that takes unusually long, within a bound on the extra calls. Pure.

After Dean and Barroso, "The Tail at Scale" (2013): a second request after the 95th percentile costs 5% more load and takes
most of the tail away.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

_REMEMBERED = 500
_LEAST = 50


class Hedge:
    """Decides when a call gets a second one beside it."""

    def __init__(self, share: float) -> None:
        """``share`` is the most extra calls for each call, such as 0.05; 0 is never."""
        self._share = share
        self._allowance = 0.0
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def begun(self) -> None:
        """A call begins, which earns its share of an extra one."""
        self._allowance = min(10.0, self._allowance + self._share)

    def took(self, seconds: float) -> None:
        """A call was answered after so long."""
        if len(self._latest) == _REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    def after_s(self) -> float | None:
        """Seconds after which a call gets a second one: the 95th percentile; None when hedging is off or knows too little."""
        if not self._share or len(self._sorted) < _LEAST:
            return None
        return self._sorted[int(0.95 * len(self._sorted))]

    def spend(self) -> bool:
        """Takes one extra call from the allowance, if there is one."""
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True
