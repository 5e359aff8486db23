"""Traffic, customers, and quantities as people write them."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.operations.planning.quantities import rate, seconds
from forebay.operations.planning.traffic import Traffic
from forebay.rehearsal.customers import Customers

SPIKE = Traffic.spike(5, 200, opens_s=10, climbs_s=20, holds_s=30, falls_s=20, rests_s=10)

rates = st.floats(min_value=0, max_value=500)
traffics = st.lists(st.tuples(st.floats(min_value=0.1, max_value=50), rates), min_size=2, max_size=6).map(
    lambda steps: Traffic(tuple((sum(step for step, _ in steps[:n]), 1 + rate) for n, (_, rate) in enumerate(steps)))
)


def test_a_spike_rests_climbs_holds_and_falls() -> None:
    assert [SPIKE.rate(at) for at in (0, 9.9, 20, 30, 59, 70, 85)] == [5, 5, 102.5, 200, 200, 102.5, 5]
    assert SPIKE.peak == 200
    assert SPIKE.ends_s == 90


def test_a_decay_halves_what_is_above_the_calm() -> None:
    traffic = Traffic.decaying(5, 205, opens_s=10, half_life_s=8, lasts_s=60)
    assert traffic.rate(9.99) == 5
    assert [round(traffic.rate(at), 6) for at in (10, 18, 26)] == [205, 105, 55]
    assert traffic.ends_s == 60


@given(traffics, st.floats(min_value=0.1, max_value=100))
def test_faster_keeps_the_rates_and_shortens_the_time(traffic: Traffic, speed: float) -> None:
    fast = traffic.faster(speed)
    assert fast.peak == traffic.peak
    assert fast.turns() * speed == pytest.approx(traffic.turns(), rel=1e-6)


@given(traffics, st.floats(min_value=0, max_value=1))
def test_turns_until_then_are_part_of_all(traffic: Traffic, share: float) -> None:
    until = traffic.turns(traffic.ends_s * share)
    assert -1e-6 <= until <= traffic.turns() + 1e-6


def test_as_many_arrive_as_are_offered_and_when() -> None:
    at = list(SPIKE.arrivals(random.Random(3)))
    assert at == sorted(at)
    assert len(at) == pytest.approx(SPIKE.turns(), rel=0.05)
    assert sum(moment < 30 for moment in at) == pytest.approx(SPIKE.turns(30), rel=0.1)


@pytest.mark.parametrize(
    "points",
    [((0, 1),), ((1, 5), (2, 5)), ((0, 5), (3, 5), (2, 5)), ((0, -1), (3, 5)), ((0, 0), (3, 0)), ((0, 5), (0, 5))],
)
def test_what_is_no_traffic(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="traffic"):
        Traffic(points)


def test_single_turns_share_conversations_by_zipf() -> None:
    visits = list(Customers(conversations=100, skew=1.0).visits(SPIKE))
    said = Counter(visit.conversation_id for visit in visits)
    assert said["c-0000"] / len(visits) == pytest.approx(1 / sum(1 / n for n in range(1, 101)), rel=0.15)
    assert said["c-0000"] > 3 * said["c-0009"]
    assert all(len(visit.said) == 1 for visit in visits)


def test_longer_visits_offer_the_same_turns_in_all() -> None:
    visits = list(Customers(turns_a_visit=4, think_s=3).visits(SPIKE))
    assert len({visit.conversation_id for visit in visits}) == len(visits)
    assert sum(len(visit.said) for visit in visits) == pytest.approx(SPIKE.turns(), rel=0.1)
    assert all(len(visit.pauses_s) == len(visit.said) - 1 for visit in visits)
    pauses = [pause for visit in visits for pause in visit.pauses_s]
    assert sum(pauses) / len(pauses) == pytest.approx(3, rel=0.15)


def test_a_conversation_never_runs_out_of_words() -> None:
    visits = list(Customers(conversations=1).visits(Traffic.sustained(100, lasts_s=5)))
    assert len(visits) > 400
    assert all(visit.said[0] for visit in visits)


@pytest.mark.parametrize(
    ("said", "value"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), (7, 7), ("1.5", 1.5), ("2d", 172_800)],
)
def test_durations(said: object, value: float) -> None:
    assert seconds(said) == value


@pytest.mark.parametrize(("said", "value"), [("200/s", 200), ("12,000/m", 200), ("3600/h", 1), (5, 5), ("0.5/s", 0.5)])
def test_rates(said: object, value: float) -> None:
    assert rate(said) == value


@pytest.mark.parametrize("said", ["", "fast", "5 minutes", "-3s", "5/x", "1m/s"])
def test_what_is_no_quantity(said: str) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        seconds(said)
    with pytest.raises(ValueError, match="write a rate"):
        rate(said)
