"""The watchdog: what is an alarm and what is not, how it counts time, and what it shows of a stack."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from forebay.schemas import Headers
from forebay.schemas.headers import REPLAY_OF
from forebay.workers import metrics
from forebay.workers.engine.alarms import Readings, Thresholds, TurnInFlight, alarms, most_overdue
from forebay.workers.engine.inbound import InboundRecord, inbound_record
from forebay.workers.engine.ledger import Ledger
from forebay.workers.engine.since import Since
from forebay.workers.engine.watchdog import BEAT_S, StallTimer, Watchdog, stack_of_task, stack_of_thread

THRESHOLDS = Thresholds()
NOON = datetime(2026, 11, 11, 12, tzinfo=UTC).timestamp()
WELL = Readings(kafka_answers_s=1e6, can_answer_s=1e6)


def inbound(offset: int = 0, headers: Headers = (), value: bytes | None = None, **fields: object) -> InboundRecord:
    """A record of NOON."""
    turn = {"turn_id": f"t-{offset}", "conversation_id": "c-1", "text": "hi", **fields}
    record = ConsumerRecord(
        "chat.requests", 0, offset, int(NOON * 1000), 0, b"c-1", value or json.dumps(turn).encode(), None, 0, 0, headers
    )
    return inbound_record(record, Ledger(0))


def overdue_by(seconds: float) -> TurnInFlight:
    return TurnInFlight(inbound(17), seconds + 60, seconds, "in line 1")


BEYOND = {
    "turn_stuck": Readings(overdue=overdue_by(THRESHOLDS.turn_s + 1)),
    "commits_frozen": Readings(uncommitted_s=THRESHOLDS.commit_s + 1),
    "commits_frozen, turns lost": Readings(untracked_s=THRESHOLDS.commit_s + 1),
    "left_group, put out": Readings(outside_s=THRESHOLDS.group_s + 1),
    "left_group, rebalance": Readings(unsettled_s=THRESHOLDS.group_s + 1),
    "left_group, not polled": Readings(unpolled_s=THRESHOLDS.group_s + 1),
}


@pytest.mark.parametrize(("name", "readings"), BEYOND.items(), ids=BEYOND.keys())
def test_each_alarm(name: str, readings: Readings) -> None:
    (alarm,) = alarms(replace(readings, kafka_answers_s=1e6, can_answer_s=1e6))
    assert alarm.code == name.split(",")[0]
    assert any(figure in alarm.says for figure in ("61 s", "121 s", "241 s"))


def test_a_stuck_turn_is_named() -> None:
    (alarm,) = alarms(replace(WELL, overdue=overdue_by(1_000)))
    assert "turn t-17 (partition 0, offset 17) has been in flight for 1060 s" in alarm.says
    assert alarm.fields == {
        "partition": 0, "offset": 17, "turn_id": "t-17", "conversation_id": "c-1", "stack": "in line 1"
    }  # fmt: skip


seconds = st.floats(0, 1e6)


@given(
    st.builds(
        Readings,
        kafka_answers_s=st.floats(0, THRESHOLDS.commit_s),
        can_answer_s=st.floats(0, THRESHOLDS.turn_s),
        overdue=st.none() | seconds.map(overdue_by),
        uncommitted_s=seconds,
        outside_s=seconds,
        unsettled_s=seconds,
        unpolled_s=seconds,
    )
)
def test_what_kafka_or_the_store_did_is_no_alarm(readings: Readings) -> None:
    assert alarms(readings) == ()


@given(
    st.builds(
        Readings,
        kafka_answers_s=seconds,
        can_answer_s=seconds,
        overdue=st.none() | st.floats(0, THRESHOLDS.turn_s).map(overdue_by),
        uncommitted_s=st.floats(0, THRESHOLDS.commit_s),
        untracked_s=st.floats(0, THRESHOLDS.commit_s),
        outside_s=st.floats(0, THRESHOLDS.group_s),
        unsettled_s=st.floats(0, THRESHOLDS.group_s),
        unpolled_s=st.floats(0, THRESHOLDS.group_s),
    )
)
def test_patience_is_kept(readings: Readings) -> None:
    assert alarms(readings) == ()


def test_a_worker_that_drains_raises_no_alarm() -> None:
    assert alarms(Readings(True, 1e6, 1e6, 1e6, overdue_by(1e6), 1e6, 1e6, 1e6, 1e6, 1e6)) == ()


@pytest.mark.parametrize(
    ("turn", "allowed_s"),
    [
        (inbound(), 120),
        (inbound(sent_at="2026-11-11T11:59:00Z"), 60),
        (inbound(sent_at="2026-11-11T11:59:00Z", expires_at="2026-11-12T12:00:00Z"), 86_400),
        (inbound(headers=((REPLAY_OF, b"x-0-1"),), expires_at="2026-11-11T11:00:00Z"), 120),
        (inbound(value=b"no turn"), 0),
    ],
    ids=["record's time", "sent at", "expires at", "replayed", "no turn"],
)
def test_a_turn_has_the_time_that_its_answer_gives_it(turn: InboundRecord, allowed_s: float) -> None:
    assert turn.deadline(120.0) == NOON + allowed_s


def test_the_turn_furthest_beyond_its_deadline() -> None:
    patient = inbound(0, expires_at="2026-11-12T12:00:00Z")
    late, later, young = inbound(1), inbound(2, expires_at="2026-11-11T12:00:01Z"), inbound(3)
    began = {patient: 0.0, late: 10.0, later: 500.0, young: 950.0}
    found = most_overdue(began.items(), 1_000.0, NOON + 1_000, turn_ttl_s=120, call_s=60)
    assert found == TurnInFlight(late, 990.0, 820.0)
    del began[late]
    found = most_overdue(began.items(), 1_000.0, NOON + 1_000, turn_ttl_s=120, call_s=60)
    assert found == TurnInFlight(later, 500.0, 440.0), "it began when its time was over already"
    del began[later]
    assert most_overdue(began.items(), 1_000.0, NOON + 1_000, turn_ttl_s=120, call_s=60) is None


def test_since() -> None:
    since = Since()
    assert since.seconds(5.0) == 0.0
    since.note(True, 5.0)
    since.note(True, 7.0)
    assert since.seconds(9.0) == 4.0
    since.note(False, 9.0)
    assert since.seconds(10.0) == 0.0


def test_what_the_listener_slept_through_is_no_blocked_loop() -> None:
    stall = StallTimer()
    assert stall.measure(1, 0.5) == 0.0
    assert [stall.measure(1, 0.5) for _ in range(4)] == [0.5, 1.0, 1.5, 2.0]
    assert stall.measure(1, 3_600.0) == 2.0 + 2 * BEAT_S
    assert stall.measure(2, 0.5) == 0.0


@given(st.integers(0, 20), st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)))
def test_a_ledger_counts_what_is_held(base: int, done: set[int], again: set[int]) -> None:
    ledger = Ledger(base)
    polled = [offset for offset in range(base, 40) if ledger.polled(offset)]
    for offset in done & set(polled):
        ledger.done(offset)
    assert ledger.held == len(set(polled) - done)
    restarted = Ledger(*ledger.commit_point())
    assert restarted.held == 0, "what only the map knows is held by nobody"
    held = {offset for offset in range(restarted.position, 40) if restarted.polled(offset)}
    for offset in again & held:
        restarted.done(offset)
    assert restarted.held == len(held - again)


async def test_the_stack_of_a_task_goes_down_to_where_it_waits() -> None:
    async def waiting_for_a_tool() -> None:
        await asyncio.Event().wait()

    async def answering() -> None:
        await waiting_for_a_tool()

    task = asyncio.create_task(answering())
    await asyncio.sleep(0)
    stack = stack_of_task(task)
    assert stack.index("in answering") < stack.index("in waiting_for_a_tool") < stack.index("in wait\n")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert stack_of_task(task) == ""


def test_the_stack_of_a_thread() -> None:
    assert "in test_the_stack_of_a_thread" in stack_of_thread(threading.get_ident())
    assert stack_of_thread(0) == ""


async def test_a_watchdog_tells_when_it_begins_and_when_it_is_over() -> None:
    alarm = metrics.ALARM.labels("commits_frozen")
    with capture_logs() as logs, Watchdog() as watchdog:
        for readings in (WELL, *[replace(WELL, uncommitted_s=100.0)] * 3):
            watchdog.beat(readings)
        assert watchdog.live() == (
            "commits_frozen: turns are done, but no commit has succeeded for 100 s though Kafka answers"
        )
        assert alarm._value.get() == 1
        watchdog.beat(WELL)
        assert watchdog.live() is None
        assert alarm._value.get() == 0
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("commits.frozen", "error"),
        ("commits.frozen.over", "info"),
    ]


async def test_an_alarm_that_lasts_is_logged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.workers.engine.watchdog.REPEAT_S", 0.0)
    with capture_logs() as logs, Watchdog() as watchdog:
        watchdog.beat(replace(WELL, outside_s=121.0))
        watchdog.beat(replace(WELL, outside_s=151.0))
        watchdog.beat(WELL)
    assert [line["event"] for line in logs] == ["group.left", "group.left", "group.left.over"]
    assert "for 151 s" in logs[1]["reason"]


async def test_a_watchdog_that_stands_still_itself_says_so() -> None:
    watchdog = Watchdog(Thresholds(loop_s=-1.0))
    assert watchdog.live() is None, "nobody listens yet"
    with watchdog:
        reason = watchdog.live()
        assert reason is not None
        assert reason.startswith("loop_blocked: the process, or the writing of its log, has stood still")
    assert watchdog.live() is None


async def test_a_loop_that_only_native_code_blocks_is_told_afterwards() -> None:
    watchdog = Watchdog(Thresholds(stack_s=1.0))
    before = metrics.LOOP_BLOCKED._value.get()
    with capture_logs() as logs:
        watchdog._loop_thread = threading.get_ident()
        watchdog._judge_loop(still_s=1.0, slept_s=20.0)
    (line,) = logs
    assert (line["event"], line["seconds"]) == ("process.stalled", 20.0)
    assert "test_a_loop_that_only_native_code_blocks" in line["stack"]
    assert metrics.LOOP_BLOCKED._value.get() == before + 1
