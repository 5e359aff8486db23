"""Latency of the simulated model: its shapes, its seed, its slow calls."""

from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.rehearsal.model_api import ModelApiSettings
from forebay.rehearsal.model_api.latency import LatencySource, is_slow, lognormal_ms, uniform_ms


@given(mean=st.floats(0, 1e6), jitter=st.floats(0, 1), u=st.floats(0, 1))
def test_uniform_latency_stays_within_its_width(mean: float, jitter: float, u: float) -> None:
    drawn = uniform_ms(mean, jitter, u)
    assert mean * (1 - jitter) * 0.999 <= drawn + 1e-6
    assert drawn <= mean * (1 + jitter) * 1.001 + 1e-6


def test_lognormal_latency_has_the_mean_and_the_spread_asked_for() -> None:
    random = Random(1)
    drawn = [lognormal_ms(200.0, 0.5, random.gauss(0, 1)) for _ in range(20_000)]
    assert fmean(drawn) == pytest.approx(200.0, rel=0.03)
    assert pstdev(drawn) == pytest.approx(100.0, rel=0.05)


def test_no_jitter_means_the_mean() -> None:
    assert uniform_ms(50.0, 0.0, 0.9) == 50.0
    assert lognormal_ms(50.0, 0.0, 2.0) == 50.0


@pytest.mark.parametrize("distribution", ["uniform", "lognormal"])
def test_the_same_seed_gives_the_same_latencies(distribution: str) -> None:
    settings = [ModelApiSettings(seed=seed, distribution=distribution) for seed in (1, 1, 2)]  # type: ignore[arg-type]
    drawn = [[source.next_ms(stream=False) for _ in range(5)] for source in map(LatencySource, settings)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_stream_has_its_own_mean_and_takes_its_turn_in_the_sequence() -> None:
    plain, mixed = (LatencySource(ModelApiSettings(latency_ms=100, first_token_ms=10)) for _ in range(2))
    assert plain.next_ms(stream=False) == pytest.approx(10 * mixed.next_ms(stream=True))
    assert plain.next_ms(stream=False) == mixed.next_ms(stream=False)


def test_one_call_in_n_is_slow() -> None:
    source = LatencySource(ModelApiSettings(latency_ms=0, slow_every=3, slow_s=2))
    assert [source.next_ms(stream=False) for _ in range(6)] == [0, 0, 2000, 0, 0, 2000]
    assert not any(is_slow(call, 0) for call in range(1, 10))
