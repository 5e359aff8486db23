"""Alarms: what is wrong with a worker, by what it reads of itself at one beat of its loop. Pure: times are arguments.

An alarm is what only a restart repairs. That Kafka, the store or a provider is away is no alarm: no restart brings them
back, so readiness tells of them, and while they are away what depends on them is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from .inbound import InboundRecord

_LOOKED_AT = 1_000
"""Oldest turns in flight whose deadlines are read at a beat; that takes 3 us each."""

Code = Literal["loop_blocked", "turn_stuck", "commits_frozen", "left_group"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How long slowness is not yet a fault, in seconds."""

    stack_s: float = 2.0
    """A loop that stands still is logged with its stack: every turn in flight stands still with it."""
    loop_s: float = 10.0
    """A loop that stands still is an alarm; the group has missed this worker by then (`session_timeout_ms`, 6 s)."""
    turn_s: float = 240.0
    """A turn in flight beyond its deadline and the one call that may begin just before that. Four calls of 60 s: room for
    waiting for a permit, and for a slow store."""
    commit_s: float = 60.0
    """Nothing can be committed in a rebalance, which takes `rebalance_timeout_ms` (30 s) at most: twice that."""
    group_s: float = 120.0
    """Four such rebalances: a restart is one more rebalance for all others, so it must not come of a busy group."""


THRESHOLDS = Thresholds()


@dataclass(frozen=True, slots=True)
class TurnInFlight:
    """One turn that is being answered."""

    inbound: InboundRecord
    in_flight_s: float
    overdue_s: float
    """The part of it that lies beyond the turn's deadline and a last call."""
    stack: str = ""
    """Where it waits."""


@dataclass(frozen=True, slots=True)
class Readings:
    """For how many seconds each of these has been true; 0 when it is not true now."""

    draining: bool = False
    """The worker ends by itself, in bounded time."""
    kafka_answers_s: float = 0.0
    """Kafka and the group's coordinator answer."""
    can_answer_s: float = 0.0
    """The store, and what else an answer needs, is there."""
    oldest_turn_s: float = 0.0
    """The turn that has been in flight longest."""
    overdue: TurnInFlight | None = None
    """The turn furthest beyond its deadline."""
    uncommitted_s: float = 0.0
    """Turns are done and no commit has succeeded."""
    untracked_s: float = 0.0
    """More turns are polled and not done than wait, are in flight or being published."""
    outside_s: float = 0.0
    """The group's coordinator does not count this worker among its members."""
    unsettled_s: float = 0.0
    """A rebalance has not ended, or what it brought cannot be taken over."""
    unpolled_s: float = 0.0
    """The consumer has not been polled."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong."""

    code: Code
    says: str
    fields: Mapping[str, object] = field(default_factory=dict)
    """More for the log."""


def alarms(readings: Readings, thresholds: Thresholds = THRESHOLDS) -> tuple[Alarm, ...]:
    """What is wrong with a worker whose loop beats."""
    if readings.draining:
        return ()
    found = (
        _turn_stuck(readings, thresholds),
        _commits_frozen(readings, thresholds),
        _left_group(readings, thresholds),
    )
    return tuple(alarm for alarm in found if alarm is not None)


def _turn_stuck(readings: Readings, thresholds: Thresholds) -> Alarm | None:
    late = readings.overdue
    if late is None or min(late.overdue_s, readings.can_answer_s) <= thresholds.turn_s:
        return None
    fields: dict[str, object] = {"partition": late.inbound.partition, "offset": late.inbound.offset}
    if late.inbound.failure is None:
        fields |= {"turn_id": late.inbound.turn_id, "conversation_id": late.inbound.lane}
    return Alarm(
        "turn_stuck",
        f"turn {fields.get('turn_id', '(unreadable)')} (partition {late.inbound.partition}, offset {late.inbound.offset})"
        f" has been in flight for {late.in_flight_s:.0f} s, {late.overdue_s:.0f} s longer than its deadline and a last call"
        " allow",
        {**fields, "stack": late.stack},
    )


def _commits_frozen(readings: Readings, thresholds: Thresholds) -> Alarm | None:
    if min(readings.uncommitted_s, readings.kafka_answers_s) > thresholds.commit_s:
        says = f"turns are done, but no commit has succeeded for {readings.uncommitted_s:.0f} s though Kafka answers"
        return Alarm("commits_frozen", says)
    if readings.untracked_s > thresholds.commit_s:
        says = (
            f"for {readings.untracked_s:.0f} s turns have been neither done, waiting, in flight nor being published:"
            " no commit can pass them"
        )
        return Alarm("commits_frozen", says)
    return None


def _left_group(readings: Readings, thresholds: Thresholds) -> Alarm | None:
    for seconds, says in (
        (readings.outside_s, "the group's coordinator has not counted this worker among its members for {:.0f} s"),
        (readings.unsettled_s, "a rebalance has not ended for {:.0f} s though Kafka answers"),
        (
            readings.unpolled_s,
            "the consumer has not been polled for {:.0f} s, for which Kafka puts it out of its group",
        ),
    ):
        if min(seconds, readings.kafka_answers_s) > thresholds.group_s:
            return Alarm("left_group", says.format(seconds))
    return None


def most_overdue(
    turns: Iterable[tuple[InboundRecord, float]], now: float, wall: float, *, turn_ttl_s: float, call_s: float
) -> TurnInFlight | None:
    """The turn in flight that is furthest beyond its deadline and a last call of ``call_s``.

    ``turns`` and when they began are in that order, on the clock of ``now``; ``wall`` is in seconds since the epoch. A turn
    that began after its deadline, such as one that a dead worker left, has as long as a call.
    """
    found: TurnInFlight | None = None
    for inbound, at in islice(turns, _LOOKED_AT):
        in_flight_s = now - at
        if in_flight_s <= call_s:
            break
        overdue_s = min(in_flight_s, wall - inbound.deadline(turn_ttl_s)) - call_s
        if overdue_s > 0 and (found is None or overdue_s > found.overdue_s):
            found = TurnInFlight(inbound, in_flight_s, overdue_s)
    return found
