"""The lease: what a worker tells and asks of the quota that the fleet shares, without Redis and without a clock."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from forebay.workers.flow.lease import BEAT_S, SLOTS, Lease, LeaseRequest

WINDOW_S = 60.0


def replied(granted: Mapping[str, float], now: float, wait: float = 0.0) -> dict[str, Any]:
    return {"now": now, "slot": int(now // (WINDOW_S / SLOTS)), "granted": granted, "wait": wait}


def grant(lease: Lease, now: float, share: float = 1.0) -> LeaseRequest:
    """One round trip that takes no time and grants this share of what is wanted."""
    request = lease.request(now)
    lease.granted(request, replied({name: amount * share for name, amount in request.want.items()}, now), now, now)
    return request


def test_a_call_waits_for_a_lease_and_then_takes_it() -> None:
    lease = Lease(WINDOW_S)
    call = {"requests": 1.0, "tokens": 300.0}
    assert not lease.covers(call)
    assert lease.due_at(0.0) == math.inf
    lease.ask(call, 0.0)
    assert lease.due_at(0.0) <= 0.0
    request = grant(lease, 0.0)
    assert request.need == call
    assert lease.covers(call)
    lease.use(call, 0.0)
    assert lease.balance("tokens") == 0.0
    assert not lease.covers(call)


def test_a_single_call_leases_nothing_ahead_and_many_do() -> None:
    lease = Lease(WINDOW_S)
    lease.ask({"tokens": 100.0}, 0.0)
    grant(lease, 0.0)
    lease.use({"tokens": 100.0}, 0.0)
    assert lease.due_at(0.0) == BEAT_S
    trips, now = 0, 0.0
    for _ in range(1000):
        now += 0.005
        if not lease.covers({"tokens": 100.0}):
            lease.ask({"tokens": 100.0}, now)
        if lease.due_at(now) <= now:
            grant(lease, now)
            trips += 1
        lease.use({"tokens": 100.0}, now)
    assert trips < 1000 / 20


def test_what_is_not_used_is_given_back_within_two_beats() -> None:
    lease = Lease(WINDOW_S)
    lease.ask({"tokens": 1000.0}, 0.0)
    grant(lease, 0.0)
    now = 0.0
    while lease.balance("tokens"):
        now = lease.due_at(now)
        grant(lease, now)
    assert now <= 2 * BEAT_S
    assert lease.due_at(now) == math.inf


def test_who_waits_for_more_gives_back_what_he_holds() -> None:
    lease = Lease(WINDOW_S)
    lease.ask({"tokens": 100.0}, 0.0)
    grant(lease, 0.0)
    lease.ask({"tokens": 250.0}, 0.1)
    request = lease.request(0.1)
    assert request.moves == {0: {"tokens": -100.0}}
    assert request.need == {"tokens": 250.0}
    lease.granted(request, replied({}, 0.1, wait=3.0), 0.1, 0.1)
    assert lease.expected_at == pytest.approx(3.1)
    assert 0.1 < lease.due_at(0.1) <= 0.35, "others may give back meanwhile"
    assert lease.due_at(60.0) == math.inf, "nobody asked again"


def test_use_counts_when_it_happens_and_not_when_it_was_leased() -> None:
    lease = Lease(WINDOW_S)
    lease.ask({"tokens": 100.0}, 10.0)
    grant(lease, 10.0)
    at = lease.use({"tokens": 100.0}, 10.9)
    lease.settle(at, {"tokens": -40.0})
    assert lease.request(10.9).moves == {40: {"tokens": -100.0}, 43: {"tokens": 60.0}}


def test_a_lost_count_is_told_again_whole_for_one_window() -> None:
    lease = Lease(WINDOW_S)
    for now in (0.0, 30.0, 65.0):
        lease.ask({"tokens": 10.0}, now)
        grant(lease, now)
        lease.use({"tokens": 10.0}, now)
    assert lease.start_over(70.0)
    assert lease.request(70.0).moves == {120: {"tokens": 10.0}, 260: {"tokens": 10.0}}
    assert not lease.start_over(200.0)


class Told(RuleBasedStateMachine):
    """Whatever happens: at the end Redis was told of exactly what was used; where replies were lost, of no less."""

    calls = Bundle("calls")
    amounts = st.fixed_dictionaries({"requests": st.just(1.0), "tokens": st.integers(1, 5000).map(float)})

    def __init__(self) -> None:
        super().__init__()
        self.lease, self.now = Lease(WINDOW_S), 0.0
        self.used = Counter[str]()
        self.told = Counter[str]()
        """If Redis counted each request whose reply was lost."""
        self.told_at_least = Counter[str]()
        """If it counted none of them."""
        self.lost = False

    @rule(seconds=st.floats(0, 1))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(call=amounts)
    def ask(self, call: dict[str, float]) -> None:
        self.lease.ask(call, self.now)

    @rule(call=amounts, target=calls)
    def use(self, call: dict[str, float]) -> tuple[int, dict[str, float]]:
        add(self.used, call)
        return self.lease.use(call, self.now), call

    @rule(call=consumes(calls), share=st.floats(0, 1.2))
    def settle(self, call: tuple[int, dict[str, float]], share: float) -> None:
        slot, reserved = call
        difference = {"tokens": reserved["tokens"] * (share - 1)}
        self.lease.settle(slot, difference)
        add(self.used, difference)

    @rule(share=st.floats(0, 1), refused=st.booleans())
    def talk(self, share: float, refused: bool) -> None:
        request = self.lease.request(self.now)
        assert all(request.want[name] >= amount - 1e-6 for name, amount in request.need.items())
        refused = refused and bool(request.need)
        share = 0.0 if refused else 1.0 if request.need else share
        granted = {name: amount * share for name, amount in request.want.items()}
        self.lease.granted(request, replied(granted, self.now, wait=1.0 if refused else 0.0), self.now, self.now)
        for told in (self.told, self.told_at_least):
            add(told, granted, *request.moves.values())

    @rule()
    def lose_a_reply(self) -> None:
        request = self.lease.request(self.now)
        self.lease.unsure(request)
        add(self.told, *request.moves.values())
        self.lost = True

    @rule()
    def let_go(self) -> None:
        self.lease.let_go()

    @invariant()
    def nobody_holds_less_than_nothing(self) -> None:
        assert all(self.lease.balance(name) >= 0 for name in ("requests", "tokens"))

    def teardown(self) -> None:
        self.lease.let_go()
        assert not any(self.lease.balance(name) for name in ("requests", "tokens"))
        last = self.lease.request(self.now).moves.values()
        for told in (self.told, self.told_at_least):
            add(told, *last)
            assert all(told[name] >= used - 1e-3 for name, used in self.used.items())
        if not self.lost:
            assert all(self.told[name] == pytest.approx(used, abs=1e-3) for name, used in self.used.items())


TestTold = Told.TestCase


def add(counted: Counter[str], *amounts: Mapping[str, float]) -> None:
    for each in amounts:
        counted.update(each)
