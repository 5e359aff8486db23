"""The spike: how many turns a second are offered as a sale opens, and who says what. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .shop_questions import CUSTOMERS, question
from .shoptalk import conversation


class Offered(NamedTuple):
    """One turn of the spike."""

    at: float
    """Seconds after its start."""
    conversation_id: str
    user_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Spike:
    """A rate that rests, climbs and stays."""

    calm: float = 5.0
    """Turns a second before the sale opens."""
    peak: float = 200.0
    """Turns a second at its height."""
    opens_s: float = 3.0
    """When the sale opens."""
    climb_s: float = 5.0
    """From calm to peak."""
    ends_s: float = 20.0
    conversations: int = 200
    seed: int = 11

    def rate(self, at: float) -> float:
        """Turns a second offered at this moment."""
        climbed = min(1.0, max(0.0, (at - self.opens_s) / self.climb_s))
        return self.calm + (self.peak - self.calm) * climbed

    def turns(self) -> Iterator[Offered]:
        """Every turn in time's order; each conversation goes on from where it was."""
        rng = random.Random(self.seed)
        talks = [self._talk(rng, number % CUSTOMERS + 1) for number in range(self.conversations)]
        at = 0.0
        while True:
            # Customers arrive independently of each other: a Poisson process at the rate of the moment.
            at += rng.expovariate(self.rate(at))
            if at >= self.ends_s:
                return
            number = rng.randrange(self.conversations)
            yield Offered(at, f"c-{number:04d}", f"u-{number % CUSTOMERS + 1}", next(talks[number]))

    def _talk(self, rng: random.Random, customer: int) -> Iterator[str]:
        """What customers say in general, and every third time what only their shop can answer."""
        said = conversation(rng, 60)
        chinese = not said[0].isascii()
        for number, text in enumerate(said):
            yield question(rng, customer, chinese=chinese) if number % 3 == 2 else text
