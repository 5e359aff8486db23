"""What is judged to be wrong, and that one finding stands for one cause."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.operations.findings import (
    BUDGET_NEAR,
    BUDGET_SPENT,
    MANY_DEAD_LETTERS,
    Code,
    Finding,
    Situation,
    findings,
    runbook,
    seconds,
)
from forebay.operations.fleet_totals import models_of, spending_of
from forebay.schemas import ModelState, PartitionState, Spending, WorkerState

NOW = datetime(2026, 11, 11, tzinfo=UTC)
OPEN = ModelState(name="a/large", breaker="open", reason="529 overloaded")
CLOSED = ModelState(name="b/small", breaker="closed")


def worker(name: str = "w-1", **fields: Any) -> WorkerState:
    given: dict[str, Any] = {
        "version": "1", "host": "h", "pid": 1, "group": "g", "started_at": NOW, "reported_at": NOW, "state": "working",
        "concurrency": 50, "permits": 50, "in_flight": 0, "waiting": 0, "models": (CLOSED,),
    }  # fmt: skip
    return WorkerState(worker_id=name, **given | fields)


def situation(*workers: WorkerState, **fields: Any) -> Situation:
    told: dict[str, Any] = {
        "workers": workers,
        "models": models_of(workers),
        "spending": spending_of(one.spending for one in workers),
    }
    return Situation(turn_ttl_s=120.0, **told | fields)


def codes(of: Situation) -> list[str]:
    return [finding.code for finding in findings(of)]


def budget(hour: float | None, ceiling: float | None) -> Situation:
    spending = Spending(hour_usd=hour or 0.0, hour_ceiling_usd=ceiling, shared=ceiling is not None)
    return situation(worker(spending=spending))


def test_nothing_is_found_where_all_is_well() -> None:
    assert findings(situation(worker("w-1"), worker("w-2", permits=30))) == ()


WRONG: dict[str, tuple[Situation, str, bool, str]] = {
    "kafka": (situation(worker(), kafka_away_s=7.5), "kafka-away", True, "7.5 s"),
    "nobody": (situation(), "no-workers", True, "nothing is answered"),
    "silent": (situation(worker(), silent=(worker("w-9"),)), "silent-worker", True, "w-9"),
    "alarm": (situation(worker(alarm="left_group: for 130 s")), "watchdog-alarm", True, "w-1: left_group"),
    "store": (situation(worker(trouble="the store is away")), "worker-trouble", True, "w-1: the store is away"),
    "start": (situation(worker(trouble="not yet", state="starting")), "worker-trouble", False, "not yet"),
    "orphans": (situation(worker(), unowned=(3, 4)), "unowned-partitions", True, "3, 4"),
    "breaker": (situation(worker(models=(OPEN, CLOSED))), "breaker-open", True, "a/large at 1 of 1 workers: 529"),
    "late": (situation(worker(), oldest_s=130), "turns-late", True, "130 s old"),
    "queue": (situation(worker(), oldest_s=70), "queue-growing", False, "70 s old"),
    "wait": (situation(worker(), wait_s=70), "queue-growing", False, "waits about 70 s"),
    "errors": (situation(worker(), replies=100, errors={"x": 3}), "turns-failing", False, "3% of the last replies: x 3"),
    "many": (situation(worker(), replies=100, errors={"x": 11}), "turns-failing", True, "11%"),
    "letter": (situation(worker(), dead_letters={"invalid": 1}), "dead-letters", False, "invalid 1"),
    "letters": (situation(worker(), dead_letters={"invalid": 6, "x": 5}), "dead-letters", True, "11 in the last"),
    "near": (budget(8.0, 10.0), "budget-near", False, "80% of 10.00 USD is spent this hour"),
    "spent": (budget(9.9, 10.0), "budget-spent", True, "99%"),
    "nothing may be spent": (budget(0.0, 0.0), "budget-spent", True, "All of 0 USD"),
    "permits": (situation(worker(permits=20)), "rate-limited", False, "20 of 50"),
    "quota": (situation(worker(models=(ModelState(name="a", breaker="closed", quota_left=0.05),))), "rate-limited", False, "a 5%"),
    "paused": (situation(worker(state="paused")), "paused", False, "w-1, by an operator"),
    "one paused": (
        situation(worker(partitions=(PartitionState(partition=7, position=0, begun=0, waiting=0, in_flight=0, paused=True),))),
        "paused", False, "Partition 7",
    ),
    "whole": (situation(worker(), streaming=False), "whole-answers", False, "not streamed"),
}  # fmt: skip


@pytest.mark.parametrize(("of", "code", "severe", "says"), WRONG.values(), ids=WRONG)
def test_each_is_found_alone_with_what_it_takes_to_act(of: Situation, code: str, severe: bool, says: str) -> None:
    (found,) = findings(of)
    assert (found.code, found.severe) == (code, severe)
    assert says in found.text
    assert runbook(found.code).endswith(f"docs/runbook.md#{code}")


def test_an_outage_is_told_by_its_cause_and_not_by_everything_that_follows_from_it() -> None:
    shut = {"models": (OPEN,), "trouble": "no model can be asked", "permits": 1}
    found = findings(situation(worker("w-1", **shut), worker("w-2", **shut), oldest_s=20))
    assert [one.code for one in found] == ["breaker-open", "no-model"]
    assert "w-1, w-2" in found[1].text


def test_a_worker_that_drains_is_in_no_trouble() -> None:
    assert codes(situation(worker(state="draining", trouble="stopping"))) == []


def test_a_breaker_that_tries_again_is_no_cause_to_get_up() -> None:
    trying = ModelState(name="a/large", breaker="half_open", reason="529")
    (found,) = findings(situation(worker(models=(trying, CLOSED))))
    assert (found.code, found.severe, found.title) == ("breaker-open", False, "Breaker trying again")


def test_with_two_hundred_workers_it_is_still_a_line() -> None:
    many = [worker(f"worker-{number:03}", trouble="the store is away " * 50) for number in range(200)]
    (found,) = findings(situation(*many, unowned=range(0)))
    assert "worker-003 and 196 more" in found.text
    assert len(found.text) < 300


NAMES = st.sampled_from(["w-1", "w-2", "w-3"])
MODELS = st.lists(
    st.builds(
        ModelState,
        name=st.sampled_from(["a", "b"]),
        breaker=st.sampled_from(["open", "half_open", "closed"]),
        reason=st.text(max_size=400),
        quota_left=st.floats(0, 1),
    ),
    max_size=3,
).map(tuple)
WORKERS = st.lists(
    st.builds(
        worker,
        NAMES,
        state=st.sampled_from(["starting", "working", "paused", "draining"]),
        trouble=st.none() | st.text(max_size=400),
        alarm=st.none() | st.text(max_size=400),
        permits=st.integers(1, 50),
        models=MODELS,
        spending=st.builds(
            Spending,
            hour_usd=st.floats(0, 1e6),
            hour_ceiling_usd=st.none() | st.floats(0, 1e6),
            shared=st.booleans(),
        ),
    ),
    max_size=4,
)
COUNTS = st.dictionaries(st.text(max_size=80), st.integers(1, 10_000), max_size=5)
SITUATIONS = st.builds(
    lambda workers, **fields: situation(*workers, **fields),
    WORKERS,
    silent=WORKERS,
    unowned=st.lists(st.integers(0, 500), max_size=60),
    oldest_s=st.floats(0, 1e6),
    wait_s=st.floats(0, 1e6),
    replies=st.integers(0, 10_000),
    errors=COUNTS,
    dead_letters=COUNTS,
    kafka_away_s=st.none() | st.floats(0, 1e6),
    streaming=st.booleans(),
)


@given(SITUATIONS)
def test_whatever_is_so_the_worst_stands_first_in_a_bounded_number_of_lines(of: Situation) -> None:
    found = findings(of)
    assert [one.severe for one in found] == sorted((one.severe for one in found), reverse=True)
    rank = {code: place for place, code in enumerate(get_args(Code))}
    for severe in (True, False):
        ranks = [rank[one.code] for one in found if one.severe is severe]
        assert ranks == sorted(ranks)
    assert len(found) <= len(rank) + 4
    assert all(one.title and one.text and len(one.text) < 1_200 for one in found)


@given(SITUATIONS, st.lists(NAMES, min_size=1, max_size=3))
def test_more_trouble_never_hides_what_was_found(of: Situation, names: list[str]) -> None:
    before = set(codes(of))
    silent = [worker(name) for name in names]
    worse = {field: getattr(of, field) for field in Situation.__slots__} | {"silent": silent, "kafka_away_s": 1.0}
    assert set(codes(Situation(**worse))) == before | {"silent-worker", "kafka-away"}


@given(st.floats(0, 20), st.floats(0.01, 10))
def test_money_is_near_then_spent(spent: float, ceiling: float) -> None:
    found = codes(budget(spent, ceiling))
    share = round(spent, 6) / ceiling
    if abs(share - BUDGET_NEAR) > 1e-6 and abs(share - BUDGET_SPENT) > 1e-6:
        expected = ["budget-spent"] if share > BUDGET_SPENT else ["budget-near"] if share > BUDGET_NEAR else []
        assert found == expected


@given(st.integers(0, 30))
def test_dead_letters_are_severe_when_they_are_many(count: int) -> None:
    found = findings(situation(worker(), dead_letters={"x": count}))
    assert [one.severe for one in found] == ([count >= MANY_DEAD_LETTERS] if count else [])


def test_every_code_is_found_in_some_situation() -> None:
    seen = {code for _, code, _, _ in WRONG.values()} | {"no-model"}
    assert seen == set(get_args(Code))


def test_times_are_as_people_read_them() -> None:
    assert [seconds(value) for value in (0.04, 9.9, 10, 599, 600, 7_200, 86_400)] == [
        "0.0 s", "9.9 s", "10 s", "599 s", "10 min", "120 min", "24 h",
    ]  # fmt: skip


def test_a_finding_is_what_the_console_is_told() -> None:
    assert Finding("paused", False, "Paused", "x")._asdict() == {
        "code": "paused",
        "severe": False,
        "title": "Paused",
        "text": "x",
    }
