"""Customers: who writes when, and what. Pure: the seed decides."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, count
from typing import NamedTuple

from forebay.operations.planning.patience import Patience, Wait
from forebay.operations.planning.traffic import Traffic

from .shop_questions import CUSTOMERS, question
from .shoptalk import conversation

_SCRIPT_TURNS = 60


class Visit(NamedTuple):
    """One customer at one time: the first words come ``at`` a moment, each of the others after a reply and a pause."""

    at: float
    """Seconds after the start."""
    conversation_id: str
    user_id: str
    said: tuple[str, ...]
    pauses_s: tuple[float, ...] = ()
    """Before each of the words but the first."""
    wait: Wait | None = None
    """How they wait for each reply; without it as long as it takes."""


@dataclass(frozen=True, slots=True)
class Customers:
    """How they behave. With one turn a visit and endless patience they come back to the same conversations, and nobody
    waits for a reply.
    """

    conversations: int = 200
    """Between which single turns are divided. Longer visits begin a conversation each."""
    skew: float = 0.0
    """Zipf: the nth conversation has a share like 1/n to the power of this. 0 shares evenly."""
    turns_a_visit: float = 1.0
    """On average; more than 1 are geometrically distributed."""
    think_s: float = 10.0
    """Mean pause of a customer who read a reply, exponentially distributed."""
    users: int | None = None
    """How many they are; without it each conversation is a user's of its own."""
    patience: Patience | None = None
    seed: int = 11

    def visits(self, traffic: Traffic) -> Iterator[Visit]:
        """Every visit in the order of time, so many that the traffic's rate of turns comes of them."""
        rng = random.Random(self.seed)
        waited_for = self.turns_a_visit > 1 or self.patience is not None
        return self._longer(traffic, rng) if waited_for else self._single(traffic, rng)

    def _single(self, traffic: Traffic, rng: random.Random) -> Iterator[Visit]:
        shares = list(accumulate(1 / (number + 1) ** self.skew for number in range(self.conversations)))
        talks: dict[int, Iterator[str]] = {}
        for at in traffic.arrivals(rng):
            number = bisect(shares, rng.random() * shares[-1])
            talk = talks.setdefault(number, self._talk(number))
            yield Visit(at, f"c-{number:04d}", self._user(number), (next(talk),))

    def _longer(self, traffic: Traffic, rng: random.Random) -> Iterator[Visit]:
        mean = self.turns_a_visit
        fewer = replace(traffic, points=tuple((at, rate / mean) for at, rate in traffic.points))
        for number, at in enumerate(fewer.arrivals(rng)):
            said = [next(talk := self._talk(number))]
            while rng.random() > 1 / mean:
                said.append(next(talk))
            pauses = tuple(rng.expovariate(1 / self.think_s) if self.think_s else 0.0 for _ in said[1:])
            wait = None if self.patience is None else self.patience.draw(rng)
            yield Visit(at, f"c-{number:06d}", self._user(number), tuple(said), pauses, wait)

    def _talk(self, number: int) -> Iterator[str]:
        """What customers say in general, and every third time what only their shop can answer; without end."""
        rng = random.Random(f"{self.seed} {number}")
        for _ in count():
            said = conversation(rng, _SCRIPT_TURNS)
            chinese = not said[0].isascii()
            for place, text in enumerate(said):
                yield question(rng, number % CUSTOMERS + 1, chinese=chinese) if place % 3 == 2 else text

    def _user(self, number: int) -> str:
        return f"u-{(number if self.users is None else number % self.users) + 1}"
