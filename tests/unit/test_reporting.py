"""What a worker says of itself, what it obeys, and how a paused partition's turns go back: all without Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forebay.schemas import Command, ModelState, decode_worker_state, encode
from forebay.schemas.contract import asyncapi
from forebay.workers.engine.inbound import InboundRecord, inbound_record
from forebay.workers.engine.ledger import Ledger
from forebay.workers.engine.outcome_counts import OutcomeCounts
from forebay.workers.engine.pauses import Pauses
from forebay.workers.engine.self_report import Observation, WorkerIdentity, state_of, waiting_of
from forebay.workers.flow.budget import EVERYONE, Budget, Ceilings
from forebay.workers.spent import Spent

NOW = datetime(2026, 11, 11, 12, 0, tzinfo=UTC)
PERSON = WorkerIdentity("w-1", "forebay-workers", 50, NOW - timedelta(hours=1), "1.0", "host", 7)
places = st.tuples(st.integers(0, 3), st.integers(0, 60))


def turn(partition: int, offset: int, timestamp: int = 0, ledger: Ledger | None = None) -> InboundRecord:
    record = ConsumerRecord("chat.requests", partition, offset, timestamp, 0, b"c", b"?", 0, 1, 1, ())
    return inbound_record(record, ledger or Ledger(0))


def command(word: Literal["pause", "resume", "drain"], partition: int | None = None) -> Command:
    return Command(command_id="x", command=word, partition=partition, issued_at=NOW)


def observation(
    ledgers: dict[int, Ledger],
    waiting: Iterable[InboundRecord] = (),
    running: Iterable[InboundRecord] = (),
    *,
    joined: bool = True,
    stopping: bool = False,
    pauses: Pauses | None = None,
    alarm: str | None = None,
) -> Observation:
    counts = OutcomeCounts()
    counts.outcomes["answered"] += 3
    counts.dead_letters["invalid"] += 1
    return Observation(
        joined=joined,
        stopping=stopping,
        trouble=None,
        alarm=alarm,
        permits=40,
        ledgers=ledgers,
        waiting=waiting,
        running=running,
        pauses=pauses or Pauses(),
        counts=counts,
        answered_a_second=2.5,
        models=(ModelState(name="anthropic/claude", breaker="closed"),),
    )


@settings(deadline=None)
@given(st.sets(places, max_size=60), st.sets(places, max_size=60))
def test_partitions_tell_what_waits_and_what_has_begun(
    waiting: set[tuple[int, int]], done: set[tuple[int, int]]
) -> None:
    ledgers = {partition: Ledger(0) for partition in range(4)}
    for ledger in ledgers.values():
        for offset in range(61):
            ledger.polled(offset)
    for partition, offset in done - waiting:
        ledgers[partition].done(offset)
    turns = [turn(partition, offset) for partition, offset in waiting]
    for state in state_of(PERSON, observation(ledgers, turns), NOW).partitions:
        mine = {offset for partition, offset in waiting if partition == state.partition}
        finished = {offset for partition, offset in done - waiting if partition == state.partition}
        assert state.position == 61
        assert state.begun == min(mine, default=61)
        assert (state.waiting, state.in_flight) == (len(mine), 61 - len(mine) - len(finished))


def test_a_state_says_what_was_seen_and_survives_the_wire() -> None:
    ledger = Ledger(10)
    for offset in range(10, 14):
        ledger.polled(offset)
    at = int(NOW.timestamp() * 1000)
    pauses = Pauses()
    pauses.obey(command("pause", 2))
    state = state_of(
        PERSON, observation({2: ledger}, [turn(2, 13, at - 4_000)], [turn(2, 11, at - 9_000)], pauses=pauses), NOW
    )
    assert (state.in_flight, state.waiting, state.oldest_turn_s, state.state) == (3, 1, 9.0, "working")
    assert state.partitions[0].paused
    assert (state.outcomes, state.dead_letters) == ({"answered": 3}, {"invalid": 1})
    assert (state.concurrency, state.permits, state.answered_a_second) == (50, 40, 2.5)
    assert decode_worker_state(encode(state)) == state
    assert state_of(PERSON, observation({}), NOW).oldest_turn_s == 0.0


def test_the_condition_of_a_worker() -> None:
    pauses = Pauses()
    assert state_of(PERSON, observation({}, joined=False, pauses=pauses), NOW).state == "starting"
    assert state_of(PERSON, observation({}, pauses=pauses), NOW).state == "working"
    pauses.obey(command("pause"))
    assert state_of(PERSON, observation({}, pauses=pauses), NOW).state == "paused"
    assert state_of(PERSON, observation({}, stopping=True, pauses=pauses), NOW).state == "draining"


def test_turns_of_a_log_that_was_made_anew_are_not_counted_below_nothing() -> None:
    (state,) = state_of(PERSON, observation({0: Ledger(0)}, [turn(0, 900), turn(0, 901)]), NOW).partitions
    assert (state.in_flight, state.begun, state.position) == (0, 0, 0)


def test_the_oldest_and_the_lowest_of_what_waits() -> None:
    found, oldest = waiting_of([turn(0, 5, 70), turn(0, 3, 90), turn(1, 8, 80)])
    assert found == {0: (2, 3), 1: (1, 8)}
    assert oldest == 70
    assert waiting_of([]) == ({}, float("inf"))


words = st.lists(st.tuples(st.sampled_from(["pause", "resume"]), st.none() | st.integers(0, 3)), max_size=30)


@given(words)
def test_the_last_word_about_a_partition_counts(said: list[tuple[Literal["pause", "resume"], int | None]]) -> None:
    pauses = Pauses()
    for word, partition in said:
        pauses.obey(command(word, partition))
    whole = [word for word, partition in said if partition is None]
    assert pauses.everything == (whole[-1:] == ["pause"])
    ends = max((at for at, (word, about) in enumerate(said) if word == "resume" and about is None), default=-1)
    for partition in range(4):
        own = [word for word, about in said[ends + 1 :] if about == partition]
        assert pauses.paused(partition) == (pauses.everything or own[-1:] == ["pause"])


def test_saying_a_command_twice_is_harmless() -> None:
    pauses = Pauses()
    for word in (
        command("pause", 1),
        command("pause", 1),
        command("resume", 1),
        command("resume", 1),
        command("drain"),
    ):
        pauses.obey(word)
    assert not pauses.paused(1)


def test_a_drain_is_of_whole_workers() -> None:
    with pytest.raises(ValueError, match="drain takes no partition"):
        command("drain", 1)


class PausedPartition(RuleBasedStateMachine):
    """Turns that are polled, begin, end and go back, in every order: each is worked on once, and commits stay true."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(0)
        self.log: list[int] = []  # offsets that Kafka has, with gaps
        self.waiting: set[int] = set()
        self.running: set[int] = set()
        self.done: set[int] = set()

    @rule(gap=st.integers(0, 3))
    def sent(self, gap: int) -> None:
        self.log.append((self.log[-1] + 1 if self.log else 0) + gap)

    @rule(most=st.integers(1, 8))
    def polled(self, most: int) -> None:
        for offset in [offset for offset in self.log if offset >= self.ledger.position][:most]:
            if self.ledger.polled(offset):
                assert offset not in self.waiting | self.running | self.done
                self.waiting.add(offset)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def begins(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting.remove(offset)
        self.running.add(offset)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(offset)
        self.ledger.done(offset)
        self.done.add(offset)

    @rule()
    def paused(self) -> None:
        self.ledger.put_back(self.waiting)
        self.waiting.clear()

    @rule()
    def restarted(self) -> None:
        self.ledger = Ledger(*self.ledger.commit_point())
        self.waiting.clear()
        self.running.clear()

    @invariant()
    def nothing_is_lost(self) -> None:
        point = self.ledger.commit_point()
        polled_once = {offset for offset in self.log if offset < point.offset}
        assert polled_once <= self.done
        assert self.ledger.held == len(self.waiting) + len(self.running)

    def teardown(self) -> None:
        self.polled(len(self.log) + 1)
        assert self.waiting | self.running | self.done == set(self.log)


TestPausedPartition = PausedPartition.TestCase
TestPausedPartition.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_spending_without_a_ceiling_is_what_this_worker_counted() -> None:
    budget = Budget(Ceilings())
    budget.recorded((), 0.25, 3_600.0)
    budget.recorded((), 0.5, 3_601.0)
    told = budget.spending(3_700.0)
    assert (told.hour_usd, told.day_usd, told.hour_ceiling_usd, told.shared) == (0.75, 0.75, None, False)
    assert (budget.spending(7_200.0).hour_usd, budget.spending(7_200.0).day_usd) == (0.0, 0.75)
    assert budget.spending(90_000.0).day_usd == 0.0


def test_spending_under_a_ceiling_is_everyone_s() -> None:
    budget = Budget(Ceilings(hour_usd=10.0, tenant_day_usd=5.0))
    budget.learn({EVERYONE: Spent(1, 3.0, 4.0)})
    budget.reserve((EVERYONE,), 0.5)
    budget.recorded((EVERYONE,), 0.5, 3_600.0)
    told = budget.spending(3_700.0)
    assert (told.hour_usd, told.day_usd, told.hour_ceiling_usd, told.day_ceiling_usd) == (3.5, 4.5, 10.0, None)
    assert told.shared


def test_the_contract_names_each_key() -> None:
    messages = asyncapi("chat", "1.0")["components"]["messages"]
    said = {name: message["bindings"]["kafka"]["key"]["description"] for name, message in messages.items()}
    assert said["turn"] == said["reply"] == said["delta"] == said["handoff"] == "the conversation id"
    assert said["workerState"] == "the worker id"
    assert said["command"] == "the worker id, or * for all"


def test_what_the_watchdog_says_travels_with_the_state() -> None:
    """A worker that was left out of its group still reports, so an operator reads why from anywhere."""
    said = state_of(PERSON, observation({}, alarm="left_group: for 130 s"), NOW)
    assert decode_worker_state(encode(said)).alarm == "left_group: for 130 s"
    assert state_of(PERSON, observation({}), NOW).alarm is None
