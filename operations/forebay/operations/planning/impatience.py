"""Impatience: a crowd that does not wait for ever, before a provider that takes so many calls at once. Pure.

A discrete-event simulation, for the question which turn is worth the next call, and what it is worth to be told of those who
leave. It knows no Kafka and no pods: one queue, by the workers' own fairness.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, NamedTuple

from forebay.workers.engine.fairness import FairQueue, Origin

from .agenda import Agenda
from .patience import Patience, Wait
from .service_time import ServiceTime
from .traffic import Traffic

_RETRIES = 2
_FIRST_BACKOFF_S, _MOST_BACKOFF_S, _JITTER = 0.5, 8.0, 0.25
"""As the SDKs of Anthropic and OpenAI retry: doubled each time, less up to a quarter."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks, and what answers them."""

    traffic: Traffic
    service: ServiceTime
    calls_at_once: int
    patience: Patience
    turn_ttl_s: float = 120.0
    out_until_s: float = 0.0
    """Until then the provider takes no call: an outage at the start."""


@dataclass(frozen=True, slots=True)
class Handling:
    """How turns are handled: by a plain service, or by workers behind a queue."""

    queue: bool = True
    """False is the plain service: a call at once, the SDK's retries, then an error."""
    merge: bool = True
    """Whether what a customer wrote while they waited is answered together."""
    order: Literal["age", "early word"] | float = "age"
    """A number is the patience in seconds of `FairQueue`: 0 is newest first. ``early word`` is age, and whoever by the
    length of the queue cannot be reached within the time to live is told so at once."""


class Answered(NamedTuple):
    """What came of it."""

    customers: int
    in_time: int
    """Customers who had an answer before they left."""
    calls: int
    """Model calls that the provider took."""

    @property
    def calls_an_answer(self) -> float:
        """Model calls for each customer who was answered in time."""
        return self.calls / max(1, self.in_time)


@dataclass(slots=True, eq=False)
class _Customer:
    wait: Wait
    leaves_at: float
    answered: bool = False
    waiting: list[float] = field(default_factory=list)  # when each of their turns that waits was sent
    calls: int = 0  # under way
    ticket: int = 0


def crowded(crowd: Crowd, handling: Handling, seed: int) -> Answered:
    """A crowd, from its first question to its last answer. The same seed draws the same customers."""
    dice = random.Random(seed)
    run = (_Queue if handling.queue else _PlainService)(crowd, handling, random.Random(dice.random()))
    return run.through(dice)


class _Run:
    """What both have: customers who ask, write again and leave; calls that end."""

    def __init__(self, crowd: Crowd, handling: Handling, rng: random.Random) -> None:
        self._crowd, self._handling, self._rng = crowd, handling, rng
        self._agenda = Agenda()
        self._free = 0 if crowd.out_until_s else crowd.calls_at_once
        self._calls = self._in_time = 0

    def through(self, dice: random.Random) -> Answered:
        agenda, customers = self._agenda, 0
        if self._crowd.out_until_s:
            agenda.at(self._crowd.out_until_s, self._open)
        for at in self._crowd.traffic.arrivals(dice):
            customers += 1
            self._come(_Customer(wait := self._crowd.patience.draw(dice), at + wait.leaves_after_s), at)
        while agenda.pending:
            agenda.step()
        return Answered(customers, self._in_time, self._calls)

    def _come(self, customer: _Customer, at: float) -> None:
        wait = customer.wait
        asks = [at, *(at + after for after in wait.again_after_s)]
        for moment in asks:
            self._agenda.at(moment, lambda: None if customer.answered else self._ask(customer))
        self._agenda.at(customer.leaves_at, lambda: None if customer.answered else self._leave(customer))

    def _open(self) -> None:
        self._free = self._crowd.calls_at_once
        self._begin()

    def _call(self, customer: _Customer) -> None:
        self._free -= 1
        self._calls += 1
        customer.calls += 1
        self._agenda.at(self._agenda.now + self._crowd.service.draw(self._rng), lambda: self._end(customer))

    def _end(self, customer: _Customer) -> None:
        if customer.calls:  # else it was ended before
            customer.calls -= 1
            self._free += 1
            if not customer.answered and self._agenda.now <= customer.leaves_at:
                customer.answered = True
                self._in_time += 1
            self._ended(customer)
            self._begin()

    def _ask(self, customer: _Customer) -> None:
        raise NotImplementedError

    def _leave(self, customer: _Customer) -> None:
        """They left without an answer."""

    def _ended(self, customer: _Customer) -> None:
        """A call for them is over."""

    def _begin(self) -> None:
        """There may be room for a call."""


class _PlainService(_Run):
    def _ask(self, customer: _Customer) -> None:
        self._try(customer, 0)

    def _try(self, customer: _Customer, retries: int) -> None:
        if self._free:
            self._call(customer)
        elif retries < _RETRIES:
            backoff = min(_FIRST_BACKOFF_S * 2**retries, _MOST_BACKOFF_S) * (1 - _JITTER * self._rng.random())
            self._agenda.at(self._agenda.now + backoff, lambda: self._try(customer, retries + 1))


class _Queue(_Run):
    def __init__(self, crowd: Crowd, handling: Handling, rng: random.Random) -> None:
        super().__init__(crowd, handling, rng)
        order = handling.order
        self._queue = FairQueue(patience_s=math.inf if isinstance(order, str) else order)
        self._tickets: Iterator[int] = count(1)
        self._ready = 0

    def _ask(self, customer: _Customer) -> None:
        if self._handling.order == "early word":
            reached_after_s = self._ready / self._crowd.calls_at_once * self._crowd.service.mean_s
            if reached_after_s > self._crowd.turn_ttl_s:
                return
        customer.waiting.append(self._agenda.now)
        if not customer.calls and not customer.ticket:
            self._push(customer)
        self._begin()

    def _leave(self, customer: _Customer) -> None:
        if not customer.wait.tells:
            return
        customer.waiting.clear()
        if customer.ticket:
            self._queue.discard(customer.ticket)
            customer.ticket = 0
            self._ready -= 1
        self._free += customer.calls
        customer.calls = 0
        self._begin()

    def _ended(self, customer: _Customer) -> None:
        if customer.waiting:
            self._push(customer)

    def _push(self, customer: _Customer) -> None:
        customer.ticket = next(self._tickets)
        self._ready += 1
        self._queue.push(customer, customer.ticket, customer.waiting[0], Origin())

    def _begin(self) -> None:
        while self._free and (customer := self._queue.pop(self._agenda.now)) is not None:
            assert isinstance(customer, _Customer)
            customer.ticket = 0
            self._ready -= 1
            in_time_since = self._agenda.now - self._crowd.turn_ttl_s
            customer.waiting = [at for at in customer.waiting if at >= in_time_since]  # the others expire
            if customer.waiting:
                customer.waiting = [] if self._handling.merge else customer.waiting[1:]
                self._call(customer)
