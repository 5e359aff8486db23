"""Traffic: how many turns a second customers send as a sale goes on. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

_STEPS_A_HALF_LIFE = 8
"""A decay in straight lines of so many steps is nowhere more than 0.1% of the peak off."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """A rate of turns over time: straight lines between points of (seconds, turns a second)."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Raises ValueError for points that are no traffic."""
        if len(self.points) < 2:
            raise ValueError("traffic needs two points of [seconds, turns a second] at least")
        if self.points[0][0] != 0 or any(later[0] < earlier[0] for earlier, later in pairwise(self.points)):
            raise ValueError("traffic begins at second 0, and its points lie in the order of time")
        if self.ends_s <= 0 or min(rate for _, rate in self.points) < 0 or not self.turns():
            raise ValueError("traffic lasts some time and offers some turns; no rate is negative")

    @classmethod
    def spike(
        cls,
        calm: float,
        peak: float,
        *,
        opens_s: float,
        climbs_s: float,
        holds_s: float,
        falls_s: float,
        rests_s: float,
    ) -> Self:
        """It rests, climbs as the sale opens, holds, falls back and rests again."""
        marks = (0.0, opens_s, climbs_s, holds_s, falls_s, rests_s)
        rates = (calm, calm, peak, peak, calm, calm)
        return cls(tuple((sum(marks[: n + 1]), rate) for n, rate in enumerate(rates)))

    @classmethod
    def sustained(cls, rate: float, *, lasts_s: float) -> Self:
        """The same rate throughout."""
        return cls(((0.0, rate), (lasts_s, rate)))

    @classmethod
    def decaying(cls, calm: float, peak: float, *, opens_s: float, half_life_s: float, lasts_s: float) -> Self:
        """All at once at the opening, then half of what is above calm after each half-life, until ``lasts_s``."""
        points = [(0.0, calm), (opens_s, calm)]
        for step in range(int((lasts_s - opens_s) / half_life_s * _STEPS_A_HALF_LIFE) + 1):
            age = step / _STEPS_A_HALF_LIFE
            points.append((opens_s + age * half_life_s, calm + (peak - calm) * 0.5**age))
        return cls((*points, (max(lasts_s, points[-1][0]), points[-1][1])))

    @property
    def ends_s(self) -> float:
        """When it ends."""
        return self.points[-1][0]

    @property
    def peak(self) -> float:
        """The highest rate, in turns a second."""
        return max(rate for _, rate in self.points)

    def faster(self, speed: float) -> Self:
        """The same rates in a time that is so many times shorter: what takes minutes in a sale takes seconds here."""
        return type(self)(tuple((at / speed, rate) for at, rate in self.points))

    def rate(self, at: float) -> float:
        """Turns a second offered at this moment; where the rate jumps, the later one."""
        for (began, first), (ended, last) in pairwise(self.points):
            if began <= at < ended:
                return first + (last - first) * (at - began) / (ended - began)
        return self.points[-1][1] if at >= self.ends_s else self.points[0][1]

    def turns(self, until: float | None = None) -> float:
        """Turns offered until then, or in all."""
        limit, offered = self.ends_s if until is None else until, 0.0
        for (began, first), (ended, last) in pairwise(self.points):
            span = min(ended, limit) - began
            if span > 0:
                offered += span * (first + (last - first) * span / (ended - began) / 2)
        return offered

    def arrivals(self, rng: random.Random) -> Iterator[float]:
        """The moments at which customers send, who know nothing of each other.

        A Poisson process whose rate varies, by thinning (Lewis and Shedler, 1979).
        """
        at, peak = 0.0, self.peak
        while (at := at + rng.expovariate(peak)) < self.ends_s:
            if rng.random() * peak < self.rate(at):
                yield at
