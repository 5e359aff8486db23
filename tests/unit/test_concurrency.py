"""Adaptive concurrency beside a simulated provider: nearly all of its capacity, few refusals, equal parts, in bounds."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.workers.flow.concurrency import AdaptiveLimit

CALL_S = 0.3
REFUSAL_S = 0.01
PAUSE_S = 0.001
"""Between a call's end and the next one that takes its permit, in the mean."""


@dataclass
class Outcome:
    """What the provider saw in the seconds that were counted."""

    counted_s: float
    answered: int = 0
    refused: int = 0
    limits: list[list[int]] = field(default_factory=list)
    """Of each worker, once a second."""

    def goodput(self, capacity: int) -> float:
        return self.answered / (capacity * self.counted_s / CALL_S)

    @property
    def refused_share(self) -> float:
        return self.refused / (self.answered + self.refused)

    def parts(self, last_s: int) -> list[float]:
        """Mean limit of each worker over the last seconds."""
        return [sum(worker) / last_s for worker in zip(*self.limits[-last_s:], strict=True)]


class Simulation:
    """Workers with endless work call one provider, which refuses at once what exceeds its capacity."""

    def __init__(self, capacity: Callable[[float], int], ceiling: int, joining_s: Sequence[float], seed: int) -> None:
        self.capacity, self.dice, self.working, self.number = capacity, Random(seed), 0, 0
        self.limits = [AdaptiveLimit(ceiling) for _ in joining_s]
        self.in_flight, self.coming = [0] * len(self.limits), [0] * len(self.limits)
        self.events: list[tuple[float, int, int, str, float]] = []  # (at, number, worker, what, began)
        for worker, at in enumerate(joining_s):
            self.plan(at, worker, "joins")

    def plan(self, at: float, worker: int, what: str, began: float = 0.0) -> None:
        self.number += 1
        heapq.heappush(self.events, (at, self.number, worker, what, began))

    def run(self, until: float, since: float) -> Outcome:
        outcome = Outcome(until - since)
        while (now := self.events[0][0]) < until:
            _, _, worker, what, began = heapq.heappop(self.events)
            if what == "calls":
                self.call(worker, now)
                continue
            self.end(worker, what, began, now)
            while self.in_flight[worker] + self.coming[worker] < self.limits[worker].limit:
                self.coming[worker] += 1
                self.plan(now + self.dice.uniform(0, 2 * PAUSE_S), worker, "calls")
            outcome.answered += what == "answered" and now >= since
            outcome.refused += what == "refused" and now >= since
            if now >= len(outcome.limits):
                outcome.limits.append([limit.limit for limit in self.limits])
        return outcome

    def call(self, worker: int, now: float) -> None:
        self.coming[worker] -= 1
        if self.in_flight[worker] >= self.limits[worker].limit:
            return
        self.in_flight[worker] += 1
        if self.working < self.capacity(now):
            self.working += 1
            self.plan(now + CALL_S * self.dice.uniform(0.5, 1.5), worker, "answered", now)
        else:
            self.plan(now + REFUSAL_S, worker, "refused", now)

    def end(self, worker: int, what: str, began: float, now: float) -> None:
        if what == "joins":
            return
        self.in_flight[worker] -= 1
        if what == "answered":
            self.working -= 1
            self.limits[worker].answered(self.in_flight[worker])
        else:
            self.limits[worker].refused(self.in_flight[worker], began, now)


def halved(before: int) -> Callable[[float], int]:
    """A provider that takes half as much after a minute."""
    return lambda now: before if now < 60 else before // 2


seeds = pytest.mark.parametrize("seed", range(3))


@seeds
@pytest.mark.parametrize(("workers", "ceiling", "before"), [(1, 100, 100), (3, 50, 150)])
def test_half_the_capacity_is_found_and_used(workers: int, ceiling: int, before: int, seed: int) -> None:
    outcome = Simulation(halved(before), ceiling, [0.0] * workers, seed).run(until=120, since=60)
    assert outcome.goodput(before // 2) >= 0.95
    assert outcome.refused_share <= 0.03


@seeds
def test_a_ceiling_far_too_high_costs_little(seed: int) -> None:
    outcome = Simulation(lambda _: 50, 500, [0.0], seed).run(until=300, since=0)
    assert outcome.goodput(50) >= 0.95
    assert outcome.refused_share <= 0.03


@seeds
def test_capacity_that_comes_back_is_used_again(seed: int) -> None:
    outcome = Simulation(lambda now: 50 if now < 60 else 100, 100, [0.0], seed).run(until=120, since=60)
    assert outcome.goodput(100) >= 0.95
    assert outcome.limits[-1] == [100]


@pytest.mark.parametrize("joining_s", [(0.0, 0.0, 0.0), (0.0, 20.0, 20.0), (0.0, 0.0, 40.0)])
@pytest.mark.parametrize("ceiling", [50, 150])
def test_workers_come_to_equal_parts(joining_s: tuple[float, ...], ceiling: int) -> None:
    """Within a minute, whoever was there first. Their parts wander, so one in a few may just be beyond."""
    ratios = []
    for seed in range(5):
        outcome = Simulation(lambda _: 75, ceiling, joining_s, seed).run(until=max(joining_s) + 65, since=0)
        parts = outcome.parts(last_s=5)
        ratios.append(max(parts) / min(parts))
        assert sum(parts) <= 1.1 * 75
    assert sorted(ratios)[3] <= 3
    assert max(ratios) <= 5


ends = st.one_of(
    st.tuples(st.just("answered"), st.integers(0, 600), st.floats(0, 40)),
    st.tuples(st.just("refused"), st.integers(0, 600), st.floats(0, 40)),
    st.tuples(st.just("restart"), st.just(0), st.just(0.0)),
)


@given(st.integers(1, 500), st.integers(1, 500), st.lists(ends, max_size=200))
@settings(deadline=None)
def test_the_limit_stays_between_its_bounds(ceiling: int, floor: int, script: list[tuple[str, int, float]]) -> None:
    limit, now, least = AdaptiveLimit(ceiling, floor), 0.0, min(floor, ceiling)
    assert limit.limit == ceiling
    for what, in_flight, took_s in script:
        now += 0.01
        before = limit.limit
        match what:
            case "answered":
                limit.answered(in_flight)
                assert limit.limit >= before
            case "refused":
                limit.refused(in_flight, now - took_s, now)
                assert limit.limit <= before
            case _:
                limit.restart()
        assert least <= limit.limit <= ceiling


@given(st.integers(2, 500), st.lists(st.integers(0, 10), max_size=20))
def test_from_wherever_refusals_left_it_answers_bring_it_back(ceiling: int, refused_at: list[int]) -> None:
    limit = AdaptiveLimit(ceiling)
    for number, in_flight in enumerate(refused_at):
        limit.refused(in_flight, number, number)
    answers = 0
    while limit.limit < ceiling:
        limit.answered(limit.limit - 1)
        answers += 1
        assert answers <= 60 * ceiling


def test_many_refusals_of_one_moment_take_no_more_than_half() -> None:
    limit = AdaptiveLimit(100)
    for in_flight in range(99, -1, -1):
        limit.refused(in_flight, began=0.0, now=1.0)
    assert limit.limit == 50


def test_idle_permits_are_no_reason_to_grow() -> None:
    limit = AdaptiveLimit(100)
    limit.refused(40, began=0.0, now=1.0)
    before = limit.limit
    for _ in range(10_000):
        limit.answered(in_flight=5)
    assert limit.limit == before < 100


def test_after_an_outage_it_begins_at_half_and_doubles() -> None:
    limit = AdaptiveLimit(64)
    for number in range(10):
        limit.refused(0, number, number)
    assert limit.limit == 1
    limit.restart()
    assert limit.limit == 32
    rounds = 0
    while limit.limit < 64:
        rounds += 1
        for _ in range(limit.limit):
            limit.answered(limit.limit - 1)
    assert rounds <= 6
