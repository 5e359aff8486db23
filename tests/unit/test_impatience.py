"""Impatient customers, simulated: what a queue is worth to them, by its order and by what it is told."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.operations.planning.impatience import Answered, Crowd, Handling, crowded
from forebay.operations.planning.patience import Patience
from forebay.operations.planning.service_time import ServiceTime
from forebay.operations.planning.traffic import Traffic

TOLD, UNTOLD = Patience(), Patience(tell=0.0)


def crowd(overload: float, patience: Patience, lasts_s: float = 60.0) -> Crowd:
    """Before ten calls of a second."""
    return Crowd(Traffic.sustained(10 * overload, lasts_s=lasts_s), ServiceTime(1.0, 1.2), 10, patience)


def in_time(of: Crowd, handling: Handling) -> float:
    return median(crowded(of, handling, seed).in_time for seed in range(3))


@given(
    st.floats(0.2, 5.0),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([Handling(queue=False), Handling(), Handling(merge=False), Handling(order=5.0)]),
    st.integers(0, 9),
)
@settings(max_examples=40)
def test_nobody_is_answered_twice_or_by_more_calls_than_there_are(
    overload: float, tell: float, handling: Handling, seed: int
) -> None:
    of = crowd(overload, Patience(tell=tell), lasts_s=10.0)
    run = crowded(of, handling, seed)
    assert run == crowded(of, handling, seed)
    assert 0 <= run.in_time <= min(run.customers, run.calls)
    assert run.calls <= 2 * run.customers, "each writes twice at most"


def test_without_a_crowd_everybody_is_answered_by_one_call() -> None:
    patient = Patience(median_s=600.0, spread=0.0)
    for handling in (Handling(), Handling(order=0.0)):
        run = crowded(crowd(0.3, patient), handling, 1)
        assert run == Answered(run.customers, run.customers, run.customers)


def test_being_told_of_those_who_leave_is_worth_most() -> None:
    """What the signals are for: by age, untold, a crowd of four times is served worse than by a plain service."""
    plain = in_time(crowd(4.0, TOLD), Handling(queue=False))
    assert in_time(crowd(4.0, UNTOLD), Handling(merge=False)) < plain
    told = crowd(4.0, TOLD)
    assert in_time(told, Handling()) > 1.4 * plain
    assert median(crowded(told, Handling(), seed).calls_an_answer for seed in range(3)) < 1.1


def test_a_patience_of_15_s_helps_who_is_not_told_and_costs_who_is_told_next_to_nothing() -> None:
    by_age, by_patience = Handling(), Handling(order=15.0)
    for overload, gain in ((1.5, 0.97), (2.0, 1.0), (4.0, 1.3)):
        assert in_time(crowd(overload, UNTOLD), by_patience) >= gain * in_time(crowd(overload, UNTOLD), by_age)
        assert in_time(crowd(overload, TOLD), by_patience) >= 0.95 * in_time(crowd(overload, TOLD), by_age)


def test_a_drawn_customer() -> None:
    drawn = [Patience(median_s=40.0, write_again=0.5, again_times=3).draw(random.Random(n)) for n in range(2_000)]
    assert abs(median(each.leaves_after_s for each in drawn) - 40) < 2
    assert all(each.tells and each.reloads_after_s is None for each in drawn)
    assert all(after < each.leaves_after_s for each in drawn for after in each.again_after_s)
    assert 0.3 < sum(bool(each.again_after_s) for each in drawn) / len(drawn) < 0.5
    gone = [replace(TOLD, tell=0.0, reload=1.0).faster(10.0).draw(random.Random(n)) for n in range(200)]
    assert not any(each.tells for each in gone)
    assert all(each.reloads_after_s is not None and each.reloads_after_s < each.leaves_after_s for each in gone)
    assert math.isclose(TOLD.draw(random.Random(5)).leaves_after_s, 10 * TOLD.faster(10.0).draw(random.Random(5))[0])
