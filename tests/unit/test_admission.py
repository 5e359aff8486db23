"""Who may send how much, and when turns are streamed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.gateway.http.admission import LimitReached, TokenBucket, TurnAdmission
from forebay.gateway.http.connections import Connections
from forebay.gateway.http.streaming import Streaming

TIMES = st.lists(st.floats(0, 0.5), min_size=1, max_size=300)


@given(TIMES, st.floats(0.5, 50), st.integers(1, 20))
def test_in_no_time_more_than_the_rate_and_one_burst(gaps: list[float], rate: float, burst: int) -> None:
    bucket, now, taken = TokenBucket(rate, burst, 0.0), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if bucket.wait_s(now) == 0.0:
            bucket.take()
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) + 1e-6


@given(TIMES, st.floats(0.5, 50), st.integers(1, 20))
def test_waiting_as_long_as_it_says_is_enough(gaps: list[float], rate: float, burst: int) -> None:
    bucket, now = TokenBucket(rate, burst, 0.0), 0.0
    for gap in gaps:
        now += gap
        if (wait_s := bucket.wait_s(now)) > 0:
            now += wait_s
            assert bucket.wait_s(now) == 0.0
        bucket.take()


def admission(**rates: float) -> TurnAdmission:
    return TurnAdmission(**{"everyone": 100.0, "tenant": 50.0, "user": 1.0, "user_burst": 3.0, "now": 0.0} | rates)


def test_a_user_who_sends_too_much_is_refused_and_others_are_not() -> None:
    one = admission()
    assert [one.admit("u", "t", 0.0) for _ in range(4)] == [None, None, None, LimitReached("user u", 1.0)]
    assert one.admit("v", "t", 0.0) is None
    assert one.admit("u", "t", 1.0) is None


def test_what_one_bucket_refuses_is_taken_from_none() -> None:
    one = admission(tenant=1.0)
    assert [one.admit("u", "t", 0.0) for _ in range(2)] == [None, None]
    for _ in range(5):
        assert one.admit("v", "t", 0.0) == LimitReached("tenant t", 1.0)
    assert one.admit("v", None, 0.0) is None  # nothing was taken of user v's


def test_everyone_together_is_bounded() -> None:
    one = admission(everyone=2.0)
    assert [one.admit(f"u-{n}", None, 0.0) is None for n in range(6)] == [True] * 4 + [False] * 2


def test_memory_of_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TurnAdmission, "REMEMBERED", 100)
    one = admission(everyone=1e9)
    for number in range(1000):
        one.admit(f"u-{number}", None, 0.0)
    assert len(one._buckets) == 100


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["u", "v", None]))))
def test_connections_are_counted_in_and_out(steps: list[tuple[bool, str | None]]) -> None:
    connections, entered = Connections(everyone=5, user=2), list[str | None]()
    for come, user in steps:
        if come:
            refused = connections.enter(user)
            assert (refused is None) == (len(entered) < 5 and (user is None or entered.count(user) < 2))
            if refused is None:
                entered.append(user)
        elif user in entered:
            entered.remove(user)
            connections.leave(user)
        assert connections.count == len(entered)


def test_streaming_ends_above_the_threshold_and_comes_back_below_half_of_it() -> None:
    one = Streaming(wait_s=10.0, deltas=1000.0)
    assert [one.note(wait_s, 0.0) for wait_s in (9, 11, 9, 6, 4, 9)] == [True, False, False, False, True, True]
    assert not one.note(0.0, 1001.0)
