"""How fast a count has grown: over the last seconds only, and never negative."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.telemetry.rate import Rate

NOW = 1_790_000_000.0
SPAN_S = 10.0


def test_a_rate_is_over_the_last_seconds() -> None:
    rate = Rate(3.0)
    assert rate.latest == 0.0
    for second in range(10):
        rate.note(100 * second, NOW + second)
    assert rate.latest == pytest.approx(100)
    for second in range(10, 14):
        rate.note(900, NOW + second)
    assert rate.latest == 0.0


def test_a_topic_that_was_made_anew_gives_no_negative_rate() -> None:
    rate = Rate(3.0)
    rate.note(1_000, NOW)
    rate.note(0, NOW + 1)
    assert rate.latest == 0.0
    rate.note(50, NOW + 2)
    assert rate.latest == pytest.approx(50)


@given(st.floats(0.2, 5.0), st.integers(0, 5_000), st.integers(20, 60))
def test_a_steady_rate_is_told_as_it_is(step_s: float, each: int, steps: int) -> None:
    rate = Rate(SPAN_S)
    rate.note(0, 0.0)
    for number in range(1, steps):
        told = rate.note(number * each, number * step_s)
        assert told == pytest.approx(each / step_s)
    late = steps * step_s + 2 * SPAN_S
    rate.note((steps - 1) * each, late)
    assert rate.note((steps - 1) * each, late + SPAN_S) == 0.0


def test_a_rate_at_its_first_moment_is_nothing() -> None:
    assert Rate(SPAN_S).note(0, 5.0) == 0.0
