"""The rules of a plan: what must hold whatever is expected, and what breaks first."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import yaml
from hypothesis import given, reject
from hypothesis import strategies as st

from forebay.gateway.settings import GatewaySettings
from forebay.operations.planning.bounds import Bound, bounds
from forebay.operations.planning.expected import MARGIN, Expected
from forebay.operations.planning.kustomize import manifest, values
from forebay.operations.planning.money import money
from forebay.operations.planning.plan import Plan, plan
from forebay.operations.planning.quota import allowed, quotas
from forebay.operations.planning.service_time import ServiceTime
from forebay.operations.planning.sizing import GATEWAY_TURNS, FleetSize
from forebay.workers.engine.closing import CLOSE_S
from forebay.workers.models import Catalogue
from forebay.workers.settings import WorkerSettings

CATALOGUE = Catalogue.load()
SALE = Expected(peak=200.0, calm=5.0)

expectations = st.builds(
    lambda peak, calm, p50, spread, **rest: Expected(
        peak=peak, calm=peak * calm, service=ServiceTime(p50, p50 * spread), **rest
    ),
    peak=st.floats(1.0, 500.0),
    calm=st.floats(0.01, 1.0),
    p50=st.floats(0.1, 20.0),
    spread=st.floats(1.0, 10.0),
    concurrency=st.integers(5, 200),
    wait_s=st.floats(0.5, 20.0),
    faq_share=st.sampled_from([0.0, 0.3]),
    rpm=st.none() | st.floats(600.0, 100_000.0),
    pod_start_s=st.floats(1.0, 300.0),
    opens=st.none() | st.just(datetime(2026, 11, 27)),  # noqa: DTZ001 - a local time, as people write it
    partitions=st.none() | st.integers(24, 500),
)


def fleet_of(expected: Expected) -> FleetSize:
    return FleetSize.of(expected, allowed(expected, quotas(expected)))


def possible(expected: Expected) -> FleetSize:
    """Its fleet; what no topic can serve is not what is tested here."""
    try:
        return fleet_of(expected)
    except ValueError:
        reject()


@given(expectations)
def test_what_must_hold_of_every_plan(expected: Expected) -> None:
    fleet = possible(expected)
    assert 2 <= fleet.min_pods <= fleet.pods <= fleet.max_pods <= fleet.partitions
    assert fleet.lag_threshold == round(0.8 * expected.concurrency)
    if expected.partitions is None:
        assert fleet.partitions % fleet.pods == fleet.partitions % fleet.max_pods == 0
        assert fleet.partitions >= 3 * fleet.max_pods or fleet.partitions == 12
    assert fleet.steady_wait_s() <= expected.wait_s
    assert fleet.rate_of(fleet.pods) >= min(expected.peak, fleet.allowed) * 0.999
    assert 25 <= fleet.drain_s <= 60
    assert fleet.grace_s >= fleet.drain_s + 7 * CLOSE_S
    assert 0 < fleet.oldest_waiting_s < expected.turn_ttl_s
    assert fleet.early_s > expected.pod_start_s + fleet.scaling.every_s
    assert fleet.early_s % 60 == 0


@given(expectations, st.floats(1.1, 3.0))
def test_more_turns_need_no_fewer_pods(expected: Expected, times: float) -> None:
    expected = replace(expected, partitions=None)
    less, more = possible(expected), possible(replace(expected, peak=expected.peak * times))
    assert more.servers >= less.servers
    assert more.pods >= less.pods or more.partitions != less.partitions


def test_one_pod_less_than_needed_would_not_do() -> None:
    fleet = fleet_of(replace(SALE, partitions=36))
    assert fleet.pods == 18
    assert replace(fleet, pods=17).steady_wait_s() > SALE.wait_s


def test_a_topic_with_too_few_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="17 pods are needed and a topic of 8 partitions serves no more than 8"):
        fleet_of(replace(SALE, partitions=8))
    with pytest.raises(ValueError, match="pods are more than one topic serves well"):
        fleet_of(replace(SALE, peak=1e9, calm=1.0, concurrency=1))


def test_pods_beyond_the_quota_are_not_planned() -> None:
    half = replace(SALE, rpm=SALE.peak * 60 * MARGIN / 2)
    assert fleet_of(half).allowed == pytest.approx(100.0)
    assert fleet_of(half).max_pods == fleet_of(half).pods <= fleet_of(SALE).pods / 2
    assert fleet_of(replace(SALE, rpm=SALE.peak * 60 * MARGIN)).pods == fleet_of(SALE).pods


def test_pods_beyond_the_calls_at_once_are_not_planned() -> None:
    few = fleet_of(replace(SALE, calls_at_once=400))
    assert few.allowed == pytest.approx(400 / SALE.service.mean_s)
    assert few.max_pods * 50 < 600
    assert few.steady_wait_s() <= SALE.wait_s


def test_the_least_quota_decides_and_each_model_has_its_own() -> None:
    two = replace(SALE, models=(("claude-haiku-5-5", 0.75), ("claude-sonnet-5-5", 0.25)), rpm=6_600.0, tpm=1e9)
    haiku, sonnet = quotas(two)
    assert haiku.requests_needed == pytest.approx(200 * 0.75 * 60 * MARGIN)
    assert haiku.tokens_needed == pytest.approx(haiku.requests_needed * 1_020)
    assert haiku.requests_last_to == pytest.approx(400 / 3)
    assert sonnet.requests_last_to == pytest.approx(400.0)
    assert not haiku.enough
    assert sonnet.enough
    assert allowed(two, (haiku, sonnet)) == haiku.requests_last_to


def all_bounds(expected: Expected) -> dict[str, Bound]:
    found = bounds(expected, fleet_of(expected), quotas(expected), money(expected, CATALOGUE))
    assert [bound.turns_per_s for bound in found] == sorted(bound.turns_per_s for bound in found)
    return {bound.resource: bound for bound in found}


def test_each_resource_breaks_where_it_is_used_up() -> None:
    found = all_bounds(replace(SALE, rpm=12_000.0, tpm=20e6, budget_usd=500.0, calls_at_once=700, conversations=50_000))
    assert found["requests a minute"].turns_per_s == pytest.approx(200 / MARGIN)
    assert found["tokens a minute"].turns_per_s == pytest.approx(20e6 / 60 / 1_020 / MARGIN)
    assert found["calls at once"].turns_per_s == pytest.approx(700 / SALE.service.mean_s)
    assert found["pods"].turns_per_s < found["partitions"].turns_per_s
    assert found["gateway rate limit"].turns_per_s == 5 * GATEWAY_TURNS, "a gateway for each 10,000 customers"
    assert found["worker CPU"].turns_per_s > found["pods"].turns_per_s


def test_at_the_peak_that_the_budget_lasts_to_the_day_costs_the_budget() -> None:
    lasts_to = all_bounds(replace(SALE, budget_usd=1_000.0))["budget"].turns_per_s
    spent = money(replace(SALE, peak=lasts_to), CATALOGUE)
    assert spent is not None
    assert spent.day_usd == pytest.approx(1_000.0)


def test_turns_expire_at_the_rate_that_fluid_arithmetic_says() -> None:
    """At it the last turn of the peak has waited for its time to live when its call begins."""
    rate = all_bounds(SALE)["time to live, at the peak"].turns_per_s
    capacity = fleet_of(SALE).rate_of(fleet_of(SALE).max_pods)
    waits_s = (rate - capacity) * SALE.hold_s / rate
    assert waits_s == pytest.approx(SALE.turn_ttl_s)
    assert "time to live, until pods come" not in all_bounds(SALE)
    slow = all_bounds(replace(SALE, pod_start_s=600.0))["time to live, until pods come"]
    assert slow.turns_per_s < 40


def test_money_is_that_of_the_catalogue() -> None:
    spent = money(
        replace(SALE, models=(("claude-haiku-5-5", 0.5), ("claude-sonnet-5-5", 0.5)), faq_share=0.2), CATALOGUE
    )
    assert spent is not None
    a_turn = 0.8 * (0.5 * (900 * 0.10 + 120 * 0.50) + 0.5 * (900 * 2 + 120 * 10)) / 1e6
    assert spent.usd_a_turn == pytest.approx(a_turn)
    turns = 200 * 1_800 + 2 * 300 * (5 + 200) / 2
    assert spent.sale_turns == pytest.approx(turns)
    assert spent.day_turns == pytest.approx(turns + 5 * (86_400 - 2_400))
    assert sum(usd for _, usd in spent.by_model_usd) == pytest.approx(spent.sale_usd) == pytest.approx(a_turn * turns)
    assert money(replace(SALE, models=(("openai:unheard-of", 1.0),)), CATALOGUE) is None


def test_figures_taken_from_elsewhere_are_still_true() -> None:
    assert GatewaySettings.model_fields["gateway_turns_a_second"].default == GATEWAY_TURNS
    defaults = {name: field.default for name, field in WorkerSettings.model_fields.items()}
    assert (defaults["drain_s"], defaults["call_timeout_s"]) == (25.0, 60.0)
    assert (defaults["concurrency"], defaults["turn_ttl_s"]) == (SALE.concurrency, SALE.turn_ttl_s)


# -- whole plans, simulated ---------------------------------------------------------------------------------------------

QUICK: dict[str, Any] = {"peak": 40.0, "calm": 1.0, "climb_s": 20.0, "hold_s": 120.0}


@pytest.fixture(scope="module")
def sudden() -> Plan:
    return plan(Expected(**QUICK), CATALOGUE)


def test_pods_that_are_there_in_time_keep_what_is_wanted(sudden: Plan) -> None:
    assert sudden.holds
    assert sudden.prepared.spike.p99_s <= 5.0 < sudden.unprepared.spike.p99_s
    assert sudden.prepared.peak_waiting < sudden.unprepared.peak_waiting
    assert any(line.startswith("Pre-scale: ") for line in sudden.advice)


def test_simulation_and_erlang_agree_on_the_peak(sudden: Plan) -> None:
    """Once all pods are there: p99 by Erlang C, within what two minutes of turns can tell."""
    assert sudden.prepared.spike.p99_s == pytest.approx(sudden.fleet.steady_wait_s(), abs=2.0)
    assert sudden.prepared.peak_in_flight <= sudden.fleet.max_pods * 50


def test_a_quota_that_is_too_small_is_said_first() -> None:
    short = plan(Expected(**QUICK, rpm=1_200.0), CATALOGUE)
    assert not short.holds
    assert (short.bounds[0].resource, short.bounds[0].why) == ("requests a minute", "1,200 a minute")
    assert short.bounds[0].turns_per_s == pytest.approx(20 / MARGIN)
    assert short.advice[0].startswith(
        "Ask the provider of claude-haiku-4-5 for 2,640 requests a minute (have 1,200), or send"
    )
    assert any(line.startswith("Even with pods there in time ") for line in short.advice)


def test_faster_is_the_sale_in_a_shorter_time(sudden: Plan) -> None:
    shorter = plan(Expected(**QUICK, speed=4.0), CATALOGUE)
    assert shorter.fleet == replace(sudden.fleet, expected=shorter.expected)
    assert shorter.prepared.turns == pytest.approx(sudden.prepared.turns / 4, rel=0.1)
    assert shorter.prepared.ended_s < sudden.prepared.ended_s / 2


@pytest.mark.takes(1)
def test_a_plan_for_many_turns_simulates_less_of_the_peak(sudden: Plan) -> None:
    assert sudden.hold_s == 120.0
    half = plan(Expected(peak=60.0, calm=50.0, climb_s=10.0, hold_s=7_200.0), CATALOGUE)
    assert half.hold_s == 600.0


# -- the overlay --------------------------------------------------------------------------------------------------------


def test_the_overlay_has_all_values_as_strings() -> None:
    expected = replace(SALE, opens=datetime(2026, 11, 27), timezone="Asia/Shanghai")  # noqa: DTZ001
    written = manifest(values(expected, fleet_of(expected)), "forebay plan\n--peak 200/s")
    assert written.splitlines()[0] == "# forebay plan --peak 200/s"
    document = yaml.safe_load(written)
    assert document["metadata"] == {
        "name": "forebay-plan",
        "annotations": {"config.kubernetes.io/local-config": "true"},
    }
    assert document["data"] == {
        "partitions": "72",
        "concurrency": "50",
        "lag_threshold": "40",
        "min_replicas": "2",
        "max_replicas": "24",
        "fallback_replicas": "18",
        "pre_scale_replicas": "18",
        "pre_scale_start": "58 23 26 11 *",
        "pre_scale_end": "35 0 27 11 *",
        "timezone": "Asia/Shanghai",
        "drain_s": "40",
        "grace_s": "75",
        "turn_ttl_s": "120",
        "oldest_waiting_s": "10",
        "gateway_replicas": "2",
    }


def test_without_an_opening_nothing_is_pre_scaled() -> None:
    data = values(SALE, fleet_of(SALE))
    assert data["pre_scale_replicas"] == data["min_replicas"]
    assert math.isfinite(float(data["turn_ttl_s"]))
