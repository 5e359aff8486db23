"""How long one simulated call takes: pure shapes, and a seeded source that draws from them."""

from __future__ import annotations

import math
from random import Random

from .api_settings import ModelApiSettings


def uniform_ms(mean: float, jitter: float, u: float) -> float:
    """Milliseconds for `u` in 0..1, spread evenly over mean ± jitter × mean."""
    return mean * (1.0 + jitter * (2.0 * u - 1.0))


def lognormal_ms(mean: float, jitter: float, z: float) -> float:
    """Milliseconds for a standard normal `z`: the mean is `mean`, the standard deviation `jitter` × mean."""
    variance = math.log1p(jitter * jitter)
    return mean * math.exp(math.sqrt(variance) * z - variance / 2.0)


def is_slow(call: int, every: int) -> bool:
    """Whether call number `call` (from 1) is the slow one of `every`; never when `every` is 0."""
    return every > 0 and call % every == 0


class LatencySource:
    """Draws the latency of one call after another."""

    def __init__(self, settings: ModelApiSettings) -> None:
        self._settings = settings
        self._random = Random(settings.seed)
        self._calls = 0

    def next_ms(self, stream: bool) -> float:
        """Milliseconds to the answer, or to the first token of a stream."""
        settings = self._settings
        self._calls += 1
        first = settings.first_token_ms if stream else None
        mean = settings.latency_ms if first is None else first
        # A draw on every call, used or not, keeps the sequence the same whatever the mix of calls.
        if settings.distribution == "lognormal":
            drawn = lognormal_ms(mean, settings.jitter, self._random.gauss(0.0, 1.0))
        else:
            drawn = uniform_ms(mean, settings.jitter, self._random.random())
        return settings.slow_s * 1000.0 if is_slow(self._calls, settings.slow_every) else drawn
