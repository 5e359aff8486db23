"""Service time: how long one turn keeps a model busy, from the two figures that people know of it. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

_Z99 = NormalDist().inv_cdf(0.99)


@dataclass(frozen=True)
class ServiceTime:
    """A lognormal time with this median and this 99th percentile, in seconds; where both are the same, always that time.

    Answers of a language model vary as the product of many things (tokens, load, place in a batch), which is what makes a
    lognormal; call centres measure the same of their calls (Brown et al., JASA 100, 2005).
    """

    p50_s: float
    p99_s: float

    def __post_init__(self) -> None:
        """Raises ValueError for percentiles that cannot be."""
        if not (math.isfinite(self.p50_s) and self.p50_s > 0):
            raise ValueError(f"the median of an answer's time is more than 0 s, not {self.p50_s:g}")
        if not (math.isfinite(self.p99_s) and self.p99_s >= self.p50_s):
            raise ValueError(
                f"p99 ({self.p99_s:g} s) is not less than p50 ({self.p50_s:g} s): give p50 first, p99 second"
            )

    @classmethod
    def of(cls, mean_s: float, spread: float) -> ServiceTime:
        """From the mean and the standard deviation as a share of it. Raises ValueError."""
        variance = math.log1p(spread * spread)
        median = mean_s * math.exp(-variance / 2)
        return cls(median, median * math.exp(_Z99 * math.sqrt(variance)))

    @cached_property
    def _sigma(self) -> float:
        """Standard deviation of the time's logarithm."""
        return math.log(self.p99_s / self.p50_s) / _Z99

    @property
    def mean_s(self) -> float:
        """Mean, in seconds."""
        return self.p50_s * math.exp(self._sigma**2 / 2)

    @property
    def scv(self) -> float:
        """Squared coefficient of variation: the variance over the square of the mean."""
        return math.expm1(self._sigma**2)

    def percentile_s(self, share: float) -> float:
        """The time below which this share of answers takes, in seconds."""
        return self.p50_s * math.exp(self._sigma * NormalDist().inv_cdf(share))

    def faster(self, speed: float) -> ServiceTime:
        """The same in a time that is so many times shorter."""
        return ServiceTime(self.p50_s / speed, self.p99_s / speed)

    def draw(self, rng: random.Random) -> float:
        """One answer's time, in seconds."""
        return self.p50_s * math.exp(self._sigma * rng.gauss(0.0, 1.0))
