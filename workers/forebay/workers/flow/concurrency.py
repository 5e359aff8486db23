"""Adaptive concurrency: how many calls a provider takes at once, learned from its refusals. Pure.

AIMD (Chiu and Jain, 1989) with two changes that keep refusals rare. A refusal says exactly how many calls the provider
is working on: those of ours still in flight; so the limit falls to that number at once, and a little further for the
sake of fairness between workers. And a step over the level that was refused last comes only after many answers, while
below and beyond it steps double with every round of answers (slow start and its threshold, as TCP has them).
"""

from __future__ import annotations

import math


class AdaptiveLimit:
    """Calls that may be in flight, between ``floor`` and ``ceiling``.

    The constants were chosen by simulation (tests/unit/test_concurrency.py): 95% let three workers come to equal parts in
    about 200 rounds and cost 2% of the goodput; 50 answers keep refusals below 2%.
    """

    BACK_OFF = 0.95
    """Further than what was seen to be accepted, so that workers that share a provider come to equal parts."""
    MOST_BACK_OFF = 0.5
    """One refusal takes away no more than this: with few calls in flight it says little about many."""
    ANSWERS_A_STEP = 50
    """Answers before a step over the edge..."""
    ROUNDS_A_STEP = 8
    """...or so many rounds of answers, so that a small limit does not wait for ever."""

    IN_USE = 0.75
    """Share of the limit that must be in flight for an answer to say that it could be higher: turns wait for the
    store too."""

    def __init__(self, ceiling: int, floor: int = 1) -> None:
        self._ceiling, self._floor = ceiling, min(floor, ceiling)
        self._level = float(ceiling)
        self._least = float(self._floor)  # how low the refusals of calls that are out already may bring us
        self._edge = math.inf  # the level that was refused last
        self._step = 1.0
        self._answers = 0
        self._refused_at = -math.inf

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return round(self._level)

    def answered(self, in_flight: int) -> None:
        """A call was answered, with ``in_flight`` others going on. Grows only when the limit is what holds us back."""
        if self._level >= self._ceiling or in_flight + 1 < self.IN_USE * self.limit:
            return
        self._answers += 1
        over_the_edge = self._level + self._step >= self._edge
        needed = self._level
        if over_the_edge:
            needed = max(needed, min(self.ANSWERS_A_STEP, self.ROUNDS_A_STEP * self._level))
            self._step = 1.0
        if self._answers < needed:
            return
        if self._level >= self._edge:
            self._edge = math.inf  # what was refused is accepted now
        self._level = min(self._ceiling, self._level + self._step)
        self._step *= 2
        self._answers = 0

    def refused(self, in_flight: int, began: float, now: float) -> None:
        """A call that ``began`` then was refused for load, with ``in_flight`` others going on."""
        accepted = float(in_flight)
        if began >= self._refused_at:  # it was sent with the last refusal known
            self._refused_at = now
            self._least = max(self._floor, self._level * self.MOST_BACK_OFF)
            accepted *= self.BACK_OFF
        self._level = max(self._least, min(self._level, accepted))
        self._edge = self._level + 1
        self._answers, self._step = 0, 1.0

    def restart(self) -> None:
        """The provider is back after an outage, which said nothing about its capacity: begins at half, and is quick."""
        self._edge, self._answers = math.inf, 0
        self._level = max(float(self._floor), self._ceiling / 2)
        self._step = max(1.0, self._level / 2)
