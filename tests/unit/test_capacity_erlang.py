"""Erlang's formulas beside published tables, and what must hold of any queue."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.operations.planning.erlang import erlang_b, erlang_c, fewest_servers, mean_wait_s, wait_s, waits_longer
from forebay.operations.planning.service_time import ServiceTime

EXPONENTIAL = ServiceTime.of(1.0, 1.0)
"""Its spread is that of the exponential time, which M/M/c is about."""

# Load in Erlangs that so many lines carry with so many calls lost: the tables of telephone engineers, to the last digit.
LINES = [
    (1, 0.01, 0.0101),
    (5, 0.01, 1.36),
    (10, 0.01, 4.46),
    (20, 0.01, 12.0),
    (50, 0.01, 37.9),
    (100, 0.01, 84.1),
    (10, 0.05, 6.22),
    (10, 0.001, 3.09),
    (30, 0.02, 21.9),
]

services = st.builds(lambda p50, factor: ServiceTime(p50, p50 * factor), st.floats(0.05, 30.0), st.floats(1.0, 20.0))


@pytest.mark.parametrize(("lines", "lost", "load"), LINES)
def test_erlang_b_agrees_with_the_tables(lines: int, lost: float, load: float) -> None:
    step = 10 ** (math.floor(math.log10(load)) - 2) / 2  # half of the last digit that is printed
    assert erlang_b(lines, load - step) <= lost <= erlang_b(lines, load + step)


def test_erlang_c_agrees_with_a_published_call_centre() -> None:
    """0.2 calls a second of 240 s for 55 agents: 23.9% wait, 8.2 s on average, 84.6% are answered within 15 s (Mitan)."""
    calls = ServiceTime.of(240.0, 1.0)
    assert erlang_c(55, 48.0) == pytest.approx(0.239, abs=5e-4)
    assert mean_wait_s(55, 0.2, calls) == pytest.approx(8.2, abs=0.05)
    assert 1 - waits_longer(15.0, 55, 0.2, calls) == pytest.approx(0.846, abs=5e-4)


@given(st.integers(1, 60), st.floats(0.01, 80.0))
def test_the_recursion_is_the_formula(servers: int, load: float) -> None:
    terms = [load**n / math.factorial(n) for n in range(servers + 1)]
    assert erlang_b(servers, load) == pytest.approx(terms[-1] / sum(terms), rel=1e-9)


def test_neither_overflows_for_thousands_of_servers() -> None:
    assert 0 < erlang_c(10_000, 9_900.0) < 1
    assert erlang_c(10_000, 10_000.0) == 1.0
    assert mean_wait_s(10, 10.0, EXPONENTIAL) == math.inf
    assert waits_longer(5.0, 10, 12.0, EXPONENTIAL) == 1.0


@given(st.integers(1, 200), st.floats(0.05, 0.98), services)
def test_more_servers_wait_less_and_more_turns_wait_longer(servers: int, use: float, service: ServiceTime) -> None:
    rate = use * servers / service.mean_s
    waits = mean_wait_s(servers, rate, service)
    assert mean_wait_s(servers + 1, rate, service) <= waits
    assert mean_wait_s(servers, rate * 1.01, service) >= waits
    assert wait_s(0.99, servers + 1, rate, service) <= wait_s(0.99, servers, rate, service)


@given(st.integers(1, 200), st.floats(0.05, 0.98), services)
def test_the_percentile_is_the_tail(servers: int, use: float, service: ServiceTime) -> None:
    rate = use * servers / service.mean_s
    p99 = wait_s(0.99, servers, rate, service)
    assert waits_longer(p99, servers, rate, service) <= 0.01 + 1e-9
    assert p99 == 0.0 or waits_longer(p99, servers, rate, service) == pytest.approx(0.01)


@given(st.floats(0.1, 400.0), services, st.floats(0.01, 20.0), st.sampled_from([0.5, 0.95, 0.99]))
def test_fewest_servers_are_enough_and_one_less_is_not(
    rate: float, service: ServiceTime, target_s: float, share: float
) -> None:
    servers = fewest_servers(rate, service, target_s, share)
    assert wait_s(share, servers, rate, service) <= target_s
    fewer = servers - 1
    assert fewer <= rate * service.mean_s or wait_s(share, fewer, rate, service) > target_s


def test_spread_of_the_service_makes_turns_wait() -> None:
    """Allen and Cunneen: no spread halves the mean waiting of M/M/c, twice the variance makes it half as much again."""
    exponential = mean_wait_s(10, 9.0, EXPONENTIAL)
    assert mean_wait_s(10, 9.0, ServiceTime(1.0, 1.0)) == pytest.approx(exponential / 2)
    assert mean_wait_s(10, 9.0, ServiceTime.of(1.0, math.sqrt(2))) == pytest.approx(exponential * 1.5)
    assert mean_wait_s(10, 9.0, EXPONENTIAL, arrivals_scv=3.0) == pytest.approx(exponential * 2)
