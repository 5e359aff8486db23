"""The time that an answer takes, from the two percentiles that people know."""

from __future__ import annotations

import math
import random
from statistics import mean, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.operations.planning.service_time import ServiceTime


def test_what_is_drawn_has_the_percentiles_the_mean_and_the_spread() -> None:
    service, rng = ServiceTime(3.0, 20.0), random.Random(5)
    drawn = [service.draw(rng) for _ in range(200_000)]
    cuts = quantiles(drawn, n=100)
    assert cuts[49] == pytest.approx(3.0, rel=0.02)
    assert cuts[98] == pytest.approx(20.0, rel=0.03)
    assert mean(drawn) == pytest.approx(service.mean_s, rel=0.02)
    variance = mean((took - service.mean_s) ** 2 for took in drawn)
    assert variance / service.mean_s**2 == pytest.approx(service.scv, rel=0.08)


def test_one_time_for_both_is_always_that_time() -> None:
    service = ServiceTime(20.0, 20.0)
    assert {service.draw(random.Random(seed)) for seed in range(5)} == {20.0}
    assert (service.mean_s, service.scv) == (20.0, 0.0)


@given(st.floats(0.01, 100.0), st.floats(0.0, 3.0), st.floats(1.0, 60.0))
def test_mean_and_spread_lead_to_the_same(mean_s: float, spread: float, speed: float) -> None:
    service = ServiceTime.of(mean_s, spread)
    assert service.mean_s == pytest.approx(mean_s)
    assert math.sqrt(service.scv) == pytest.approx(spread, abs=1e-6)
    assert service.percentile_s(0.5) == pytest.approx(service.p50_s)
    assert service.percentile_s(0.99) == pytest.approx(service.p99_s)
    assert service.faster(speed).mean_s == pytest.approx(mean_s / speed)
    assert service.faster(speed).scv == pytest.approx(service.scv, abs=1e-6)


@pytest.mark.parametrize(
    ("p50", "p99", "said"),
    [
        (20.0, 3.0, r"p99 \(3 s\) is not less than p50 \(20 s\)"),
        (0.0, 3.0, "more than 0 s, not 0"),
        (-1.0, 3.0, "more than 0 s, not -1"),
        (math.nan, 3.0, "more than 0 s, not nan"),
        (1.0, math.inf, "p99"),
    ],
)
def test_nonsense_is_one_clear_line(p50: float, p99: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ServiceTime(p50, p99)
