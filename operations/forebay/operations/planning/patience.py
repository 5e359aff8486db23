"""Patience: how long customers wait for a reply, and what they do meanwhile. Pure: the dice are an argument."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import NamedTuple, Self


class Wait(NamedTuple):
    """What one customer will do while an answer does not come, in seconds after they asked."""

    leaves_after_s: float
    tells: bool
    """Whether their frontend then takes the turn back; without that nobody knows that they left."""
    again_after_s: tuple[float, ...] = ()
    """When they write "hello??"."""
    reloads_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """The customers of a sale. Times in seconds; shares from 0 to 1."""

    median_s: float = 45.0
    """Half of them leave before it; lognormal, as waiting on hold and before web pages is found to be."""
    spread: float = 0.6
    """Standard deviation of its logarithm: with 0.6 two of three leave between 0.55 and 1.8 times the median."""
    tell: float = 1.0
    """Share of those who leave whose frontend takes their turns back."""
    write_again: float = 0.3
    """Share who write again while they wait."""
    again_after_s: tuple[float, float] = (10.0, 30.0)
    """When, evenly distributed between the two; each further time as much later."""
    again_times: int = 1
    reload: float = 0.0
    """Share who load the page anew while they wait, once, at a moment before they would leave."""

    def draw(self, rng: random.Random) -> Wait:
        """One customer. The dice are thrown equally often for each, so one value changes nothing else."""
        leaves_after_s = self.median_s * math.exp(self.spread * rng.gauss(0.0, 1.0))
        tells, writes, reloads = rng.random() < self.tell, rng.random() < self.write_again, rng.random() < self.reload
        again_s, reload_at = rng.uniform(*self.again_after_s), rng.random()
        times = [again_s * (number + 1) for number in range(self.again_times)] if writes else []
        return Wait(
            leaves_after_s,
            tells,
            tuple(at for at in times if at < leaves_after_s),
            reload_at * leaves_after_s if reloads else None,
        )

    def faster(self, speed: float) -> Self:
        """The same customers in a time that is so many times shorter."""
        least, most = self.again_after_s
        return replace(self, median_s=self.median_s / speed, again_after_s=(least / speed, most / speed))
