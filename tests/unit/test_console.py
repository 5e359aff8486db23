"""What the console works out by itself: percentiles, ages, the view of the fleet, the snapshot, and what it asks of a body."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.gateway.console.audit import Audit
from forebay.gateway.console.jobs import Job, Jobs
from forebay.gateway.console.live.snapshot import snapshot_of
from forebay.gateway.console.live.timeline import KEPT as POINTS
from forebay.gateway.console.live.timeline import Point, Timeline, point_of
from forebay.gateway.console.page import content_policy, find_plotly, style_hash
from forebay.gateway.console.params import CommandParams, LetterParams, PurgeParams, ReplayParams
from forebay.gateway.console.views import handoff
from forebay.gateway.http.parsing import parse
from forebay.gateway.http.problem import Problem
from forebay.operations.fleet_totals import models_of, spending_of
from forebay.operations.fleet_view import FleetView, partitions_of
from forebay.operations.latencies import KEPT_A_SECOND, Latencies, RecentReplies, Spread
from forebay.operations.offset_ages import KEPT, STEP_MS, Age, Ages
from forebay.operations.partition_backlog import PartitionBacklog
from forebay.schemas import Command, Handoff, ModelState, PartitionState, Said, Spending, WorkerState

NOW = 1_800_000_000.0
QUIET = RecentReplies(0, Spread(), Spread(), {}, {})


def worker(name: str = "w-1", *, age_s: float = 0.0, **fields: Any) -> WorkerState:
    at = datetime.fromtimestamp(NOW - age_s, UTC)
    given: dict[str, Any] = {
        "version": "1", "host": "h", "pid": 1, "group": "g", "started_at": at, "reported_at": at, "state": "working",
        "concurrency": 50, "permits": 50, "in_flight": 0, "waiting": 0,
    }  # fmt: skip
    return WorkerState(worker_id=name, **given | fields)


def partition(
    number: int, *, position: int, waiting: int = 0, in_flight: int = 0, paused: bool = False
) -> PartitionState:
    begun = position - waiting
    return PartitionState(
        partition=number, position=position, begun=begun, waiting=waiting, in_flight=in_flight, paused=paused
    )


def view(**fields: Any) -> FleetView:
    given: dict[str, Any] = {
        "now": NOW, "group": "g", "log_ends": {0: 0}, "backlogs": {}, "states": (), "silent": frozenset(),
        "offered": 0.0, "answered": 0.0, "replies": QUIET,
    }  # fmt: skip
    return FleetView(**given | fields)


# Latencies


def test_the_percentiles_of_nothing_are_none() -> None:
    assert Spread.of([]) == Spread(None, None)
    assert Latencies().window(NOW) == QUIET


def test_replies_count_for_ten_seconds() -> None:
    latencies = Latencies()
    for second in range(20):
        for number in range(10):
            reply = {"outcome": "answered", "queued_ms": number, "model_ms": 100 + second, "error": None}
            latencies.heard(reply, NOW + second)
    latencies.heard({"outcome": "failed", "error": {"code": "handler_error"}}, NOW + 19)
    latencies.heard({"outcome": "answered", "queued_ms": 5, "model_ms": 0.0}, NOW + 19)
    window = latencies.window(NOW + 19)
    assert window.turns == 102
    assert window.outcomes == {"answered": 101, "failed": 1}
    assert window.errors == {"handler_error": 1}
    assert window.queued == Spread(5, 9)
    assert window.model == Spread(114, 119), "a turn without a model call has no time in one"
    assert latencies.window(NOW + 60) == QUIET


def test_many_replies_in_a_second_are_sampled_fairly_and_counted_all() -> None:
    latencies, draw = Latencies(), random.Random(1)
    for _ in range(20_000):
        latencies.heard({"outcome": "answered", "queued_ms": draw.uniform(0, 1000), "model_ms": 1}, NOW)
    window = latencies.window(NOW)
    assert window.turns == 20_000
    assert window.queued.p50 == pytest.approx(500, abs=100)
    assert window.queued.p99 == pytest.approx(990, abs=20)
    assert len(latencies._seconds[0].times) == KEPT_A_SECOND


@pytest.mark.parametrize(
    "reply", [{}, {"outcome": 1, "error": {}, "queued_ms": "x"}, {"error": {"code": ["x"]}, "model_ms": None}]
)
def test_odd_replies_are_counted_and_break_nothing(reply: dict[str, Any]) -> None:
    latencies = Latencies()
    latencies.heard(reply, NOW)
    assert latencies.window(NOW).outcomes == {"unknown": 1}


# Ages, history


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=300), st.data())
def test_an_age_is_too_high_by_a_step_at_most(gaps: list[int], data: st.DataObject) -> None:
    ages, at, times = Ages(), int(NOW * 1000), []
    for offset, gap in enumerate(gaps):
        at += gap
        times.append(at)
        ages.heard(0, offset, at)
    asked = data.draw(st.integers(0, len(times) - 1))
    age = ages.of(0, asked, at / 1000 + 1)
    assert age is not None
    true = at / 1000 + 1 - times[asked] / 1000
    assert not age.at_least
    assert -1e-6 <= age.seconds - true <= STEP_MS / 1000 + 1e-6


def test_what_is_older_than_all_notes_is_that_old_at_least() -> None:
    ages = Ages()
    assert ages.of(0, 5, NOW) is None
    ages.heard(0, 100, int(NOW * 1000))
    assert ages.of(0, 5, NOW + 7) == Age(7.0, at_least=True)
    assert ages.of(0, 100, NOW + 7) == Age(7.0)


def test_notes_are_bounded() -> None:
    ages = Ages()
    for number in range(10 * KEPT):
        ages.heard(0, number, int(NOW * 1000) + number * STEP_MS)
    assert len(ages._notes[0].offsets) <= 2 * KEPT


def test_the_history_keeps_half_an_hour_in_columns() -> None:
    history = Timeline()
    assert history.columns() == {name: [] for name in Point._fields}
    for second in range(POINTS + 10):
        history.add(Point(NOW + second, 1.234, 0.0, 5, 1, 0.0, None, None, None, None, 0))
    columns = history.columns()
    assert {len(column) for column in columns.values()} == {POINTS}
    assert columns["at"][0] == NOW + 10
    assert columns["offered"][0] == 1.2
    assert columns["queued_p50"][0] is None


# The view of the fleet


def test_what_is_committed_tells_what_waits() -> None:
    own = partition(0, position=90, waiting=10, in_flight=4)
    ages = Ages()
    ages.heard(0, 0, int((NOW - 30) * 1000))
    seen = view(
        log_ends={0: 100, 1: 7},
        backlogs={0: PartitionBacklog((60, 70), 80, 100)},
        states=(worker(partitions=(own,)),),
    )
    first, second = partitions_of(seen, ages)
    assert (first.waiting, first.in_flight, first.worker) == (18, 4, "w-1")
    assert first.oldest == Age(30.0)
    assert (second.waiting, second.worker, second.oldest) == (None, None, None), "nobody has ever had it"
    point = point_of(seen, (first, second))
    assert (point.waiting, point.in_flight, point.oldest_s) == (18, 4, 30.0)


def test_before_the_first_commit_the_worker_tells() -> None:
    own = partition(0, position=40, waiting=30, in_flight=10)
    (found,) = partitions_of(view(log_ends={0: 100}, states=(worker(partitions=(own,)),)), Ages())
    assert (found.waiting, found.in_flight) == (90, 10)


def test_what_a_worker_said_a_second_ago_does_not_make_turns_of_nothing() -> None:
    own = partition(0, position=100, waiting=0, in_flight=8)
    done = view(log_ends={0: 100}, backlogs={0: PartitionBacklog((), 100, 100)}, states=(worker(partitions=(own,)),))
    (found,) = partitions_of(done, Ages())
    assert (found.waiting, found.in_flight, found.oldest) == (0, 0, None)


def test_a_silent_worker_owns_only_what_nobody_else_owns() -> None:
    states = (
        worker("alive", partitions=(partition(0, position=1),)),
        worker("dead", age_s=60, partitions=(partition(0, position=1), partition(1, position=1))),
        worker("foreign", group="other", partitions=(partition(2, position=1),)),
    )
    seen = view(log_ends={0: 1, 1: 1, 2: 1}, states=states, silent=frozenset({"dead"}))
    assert [found.worker for found in partitions_of(seen, Ages())] == ["alive", "dead", None]


def test_a_snapshot_of_a_large_fleet_is_quick_and_small() -> None:
    states = tuple(
        worker(
            f"worker-{number:03}",
            partitions=tuple(partition(n, position=1_000, waiting=100) for n in range(number, 96, 50)),
            models=(ModelState(name="anthropic/claude-haiku-4-5", breaker="closed"),),
        )
        for number in range(50)
    )
    seen = view(
        log_ends=dict.fromkeys(range(96), 1_100),
        backlogs={n: PartitionBacklog(tuple(range(900, 950)), 1_000, 1_100) for n in range(96)},
        states=states,
    )
    ages = Ages()
    began = time.process_time()
    partitions = partitions_of(seen, ages)
    written = orjson.dumps(snapshot_of(seen, partitions, point_of(seen, partitions)))
    assert time.process_time() - began < 0.25
    assert len(written) < 64 * 1024
    told = orjson.loads(written)
    assert told["now"]["waiting"] == 96 * 150
    assert len(told["workers"]) == 50
    assert told["models"] == [
        {"name": "anthropic/claude-haiku-4-5", "closed": 50, "half_open": 0, "open": 0, "reason": "", "quota_left": 1.0}
    ]


def test_models_in_trouble_come_first() -> None:
    states = [
        worker(
            "a",
            models=(
                ModelState(name="m/1", breaker="closed", quota_left=0.5),
                ModelState(name="m/2", breaker="open", reason="529"),
            ),
        ),
        worker(
            "b",
            models=(ModelState(name="m/1", breaker="closed", quota_left=0.2), ModelState(name="m/2", breaker="closed")),
        ),
    ]
    first, second = models_of(states)
    assert (first["name"], first["open"], first["closed"], first["reason"]) == ("m/2", 1, 1, "529")
    assert (second["name"], second["quota_left"]) == ("m/1", 0.2)


def test_spending_is_added_up_unless_it_is_shared() -> None:
    own = [Spending(hour_usd=1.0, day_usd=2.0), Spending(hour_usd=0.5, day_usd=3.0)]
    assert spending_of(own) == {
        "hour_usd": 1.5, "day_usd": 5.0, "hour_ceiling_usd": None, "day_ceiling_usd": None, "shared": False,
    }  # fmt: skip
    shared = [
        Spending(day_usd=7.0, day_ceiling_usd=10.0, shared=True),
        Spending(day_usd=8.0, day_ceiling_usd=10.0, shared=True),
    ]
    assert spending_of(shared) == {
        "hour_usd": 0.0, "day_usd": 8.0, "hour_ceiling_usd": None, "day_ceiling_usd": 10.0, "shared": True,
    }  # fmt: skip


# What is asked, and what was done


def refused(kind: Any, body: bytes) -> str:
    with pytest.raises(Problem) as caught:
        parse(kind, body)
    assert caught.value.status == 400
    return caught.value.detail


def test_bodies_are_strict() -> None:
    assert "extra" in refused(ReplayParams, b'{"dry_run":true,"reason":"x"}').lower()
    assert refused(ReplayParams, b'{"dry_run":"yes"}').startswith("dry_run")
    assert refused(CommandParams, b'{"command":"stop"}').startswith("command")
    assert refused(CommandParams, b'{"command":"pause","worker":""}').startswith("worker")
    assert refused(PurgeParams, b'{"dry_run":true,"before":"2026-01-01T00:00:00"}').startswith("before")
    assert parse(ReplayParams, b'{"dry_run":true,"since":"2026-01-01T00:00:00Z","rate":5}').rate == 5
    with pytest.raises(Problem, match="no dead letter's id"):
        LetterParams(ids=["../etc"]).filter("t")


def test_letters_are_told_in_words() -> None:
    assert LetterParams().words() == "dead letters: all"
    assert (
        ReplayParams(dry_run=False, reasons=["invalid"], tenant="eu").words()
        == "dead letters: reasons invalid; tenant eu"
    )
    assert LetterParams(ids=[f"0-{n}" for n in range(9)]).words().endswith("0-4, and 4 more")


def test_the_audit_is_bounded_and_the_newest_comes_first() -> None:
    audit = Audit()
    for number in range(500):
        audit.note("ada", "replay", f"letters {number}", "done")
    later = datetime.now(UTC) + timedelta(seconds=1)
    said = Command(command_id="1", command="pause", partition=3, issued_by="eve", issued_at=later)
    latest = audit.latest([(said, "*")])
    assert len(latest) == 200
    assert latest[0][1:] == ("eve", "pause", "partition 3 of all workers", "said", "topic")
    assert latest[1].on == "letters 499"


async def test_one_job_at_a_time() -> None:
    jobs = Jobs()
    job = jobs.begin(Job("replay", "ada", "all"))
    with pytest.raises(Problem) as caught:
        jobs.begin(Job("purge", "eve", "all"))
    assert (caught.value.status, caught.value.more["job"]["who"]) == (409, "ada")
    assert jobs.stop(job.job_id).stop.is_set()
    job.running(5)
    assert job.state == "stopping", "counting on does not undo a stop"
    job.end("stopped", "")
    jobs.begin(Job("purge", "eve", "all"))
    with pytest.raises(Problem, match="knows no such job"):
        jobs.find(job.job_id)


def test_the_command_that_gives_a_conversation_back_can_be_pasted() -> None:
    said = Handoff(
        handoff_id="h", conversation_id="-x'; rm -rf /", turn_id="t", reason="r", transcript=(Said(role="user", text="?"),),
        created_at=datetime.now(UTC),
    )  # fmt: skip
    assert handoff(said)["command"] == """forebay handoffs return -- '-x'"'"'; rm -rf /'"""


# The page's policy


def test_plotly_is_let_in_by_hashes_alone() -> None:
    plotly = find_plotly()
    assert plotly is not None, "the extra `console` is installed for tests"
    assert plotly.styles[0] == "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='", "the empty style"
    assert len(plotly.styles) == 2, "plotly puts other styles into pages than it did: try the console in a browser"
    policy = content_policy(plotly.styles)
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert style_hash("") == plotly.styles[0]


def test_without_plotly_the_policy_is_that_of_the_other_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    find_plotly.cache_clear()
    monkeypatch.setattr("forebay.gateway.console.page.find_spec", lambda _: None)
    try:
        assert find_plotly() is None
        assert "style-src 'self';" in content_policy(())
    finally:
        find_plotly.cache_clear()
