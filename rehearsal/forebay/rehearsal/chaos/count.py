"""Counts what became of every record, from the topics in Kafka and the calls that the model API saw. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from forebay.rehearsal.model_api import Echo, echo_of, parse_reply
from forebay.schemas import Reason

from .counts import Counts
from .evidence import Blow, Evidence, Place, TopicRecord
from .script import Line
from .watched_model_api import AnsweredCall

_HISTORY = 20
"""Exchanges that the assistant shows its model."""
_WAKE_S = 1.0
"""A stopped process that goes on still sends what it was about to send, and then finds that its time was up."""
_CLOCK_S = 0.05
"""Between a call's time and a record's, both read from one machine's clock in different processes."""


def count(script: Iterable[Line], evidence: Evidence, *, remembers: bool = True) -> Counts:
    """Counts everything. ``remembers`` says whether the engine keeps conversations, which its answers must then show."""
    requested = _Requested(script, evidence.requests)
    replied = _Replied(requested, evidence.replies)
    called = _Called(requested, replied, evidence.calls, evidence.blows)
    buried = _Buried(requested, replied, evidence.dead_letters)
    forgotten = list(_forgotten(requested, replied)) if remembers else []
    lost = [turn_id for turn_id in requested.turns if turn_id not in replied.outcome]
    return Counts(
        turns=len(requested.turns),
        answered=sum(outcome == "answered" for outcome in replied.outcome.values()),
        given_up=sum(outcome != "answered" for outcome in replied.outcome.values()),
        lost=len(lost),
        conflicting=len(replied.conflicting),
        repeats=replied.repeats,
        out_of_order=len(replied.late),
        forgotten=len(forgotten),
        extra_calls=sum(called.extra.values()),
        extra_after_kill=called.extra["kill"],
        in_flight=called.in_flight,
        extra_after_stop=called.extra["stop"],
        extra_handed_over=called.extra["handover"],
        extra_unexplained=called.extra["same"],
        extra_after_reply=called.extra["reply"],
        poison=len(requested.poison),
        unburied=len(buried.missing),
        stray_letters=len(buried.stray),
        altered_letters=len(buried.altered),
        repeated_letters=buried.repeated,
        poison_calls=called.poison,
        examples=_examples(
            {
                "lost": lost,
                "different replies": sorted(replied.conflicting),
                "out of order": replied.late,
                "without its past": forgotten,
                "called after its reply": called.after_reply,
                "handed over": called.handed_over,
                "called twice by one worker": called.unexplained,
                "no dead letter for (partition, offset)": buried.missing,
                "stray dead letter for": buried.stray,
                "altered dead letter for": buried.altered,
            }
        ),
    )


def _examples(found: Mapping[str, Sequence[object]]) -> tuple[str, ...]:
    return tuple(f"{what}: {', '.join(map(str, some[:8]))}" for what, some in found.items() if some)


class _Requested:
    """The requests topic."""

    def __init__(self, script: Iterable[Line], records: Sequence[TopicRecord]) -> None:
        by_value = {line.value: line for line in script}
        self.turns: dict[str, Line] = {}
        self.places: dict[str, Place] = {}
        self.conversations: defaultdict[str, list[str]] = defaultdict(list)
        """Turn ids in the order of the partition."""
        self.poison: dict[Place, Line] = {}
        self.records: dict[Place, TopicRecord] = {}
        for record in sorted(records, key=lambda record: (record.partition, record.offset)):
            line = by_value[record.value or b""]
            place = record.partition, record.offset
            self.records[place] = record
            if line.poison is not None:
                self.poison[place] = line
            elif line.turn_id not in self.turns:
                self.turns[line.turn_id], self.places[line.turn_id] = line, place
                self.conversations[line.conversation_id].append(line.turn_id)


class _Replied:
    """The replies topic."""

    def __init__(self, requested: _Requested, records: Sequence[TopicRecord]) -> None:
        self.outcome: dict[str, str] = {}
        self.text: dict[str, str] = {}
        self.at: dict[str, float] = {}
        self.conflicting: set[str] = set()
        self.repeats = 0
        first: dict[str, bytes] = {}
        order: defaultdict[str, list[str]] = defaultdict(list)
        for record in sorted(records, key=lambda record: (record.partition, record.offset)):
            value = record.value or b""
            reply: dict[str, Any] = orjson.loads(value)
            turn_id = reply["turn_id"]
            if turn_id not in requested.turns:
                continue
            if turn_id not in first:
                first[turn_id], self.at[turn_id] = value, record.timestamp
                self.outcome[turn_id], self.text[turn_id] = reply["outcome"], reply["text"]
                order[requested.turns[turn_id].conversation_id].append(turn_id)
            elif first[turn_id] == value:
                self.repeats += 1
            else:
                self.conflicting.add(turn_id)
        self.late = [late for name, seen in order.items() for late in _late(requested.conversations[name], seen)]


def _late(requested: Sequence[str], replied: Sequence[str]) -> Iterator[str]:
    number = {turn_id: number for number, turn_id in enumerate(requested)}
    latest = -1
    for turn_id in replied:
        if number[turn_id] < latest:
            yield turn_id
        latest = max(latest, number[turn_id])


def _forgotten(requested: _Requested, replied: _Replied) -> Iterator[str]:
    """The simulated model repeats what it was told: it must be the answered turns before, and this one."""
    for turns in requested.conversations.values():
        said: list[str] = []
        for turn_id in turns:
            if replied.outcome.get(turn_id) != "answered":
                continue
            text = requested.turns[turn_id].text
            if _echo(replied.text[turn_id]) != echo_of([*said[-_HISTORY:], text]):
                yield turn_id
            said.append(text)


def _echo(reply: str) -> Echo | None:
    """What the model says that it was told; None when no model said it."""
    try:
        return parse_reply(reply)
    except ValueError:
        return None


class _Called:
    """The calls that the model answered."""

    def __init__(
        self, requested: _Requested, replied: _Replied, calls: Sequence[AnsweredCall], blows: Sequence[Blow]
    ) -> None:
        self.extra: Counter[str] = Counter()
        self.after_reply: list[str] = []
        self.handed_over: list[str] = []
        self.unexplained: list[str] = []
        self._replied = replied
        self._blows = blows
        by_turn: defaultdict[str, list[AnsweredCall]] = defaultdict(list)
        for call in sorted(calls, key=lambda call: call.at):
            by_turn[call.turn_id].append(call)
        self.poison = sum(len(found) for turn_id, found in by_turn.items() if turn_id not in requested.turns)
        for turn_id, found in by_turn.items():
            if turn_id in requested.turns:
                for number in range(1, len(found)):
                    self._again(found[:number], found[number])
        self.in_flight = sum(len(self._at_work(blow, calls)) for blow in blows if blow.kind != "sigstop")

    def _again(self, before: Sequence[AnsweredCall], call: AnsweredCall) -> None:
        """Why a turn was called once more."""
        turn_id, callers = call.turn_id, {one.caller for one in before}
        if self._replied.at.get(turn_id, call.at) + _CLOCK_S < call.at:
            self.extra["reply"] += 1
            self.after_reply.append(f"{turn_id} by {call.caller}")
        elif struck := self._struck(before, call):
            self.extra["stop" if struck.kind == "sigstop" else "kill"] += 1
        elif call.caller not in callers:
            self.extra["handover"] += 1
            self.handed_over.append(f"{turn_id} to {call.caller}")
        else:
            self.extra["same"] += 1
            self.unexplained.append(f"{turn_id} by {call.caller}")

    def _struck(self, before: Sequence[AnsweredCall], again: AnsweredCall) -> Blow | None:
        """What befell the latest caller of a turn to whom anything happened, if it did."""
        return next((blow for one in reversed(before) for blow in self._blows if _between(one, blow, again)), None)

    def _at_work(self, blow: Blow, calls: Sequence[AnsweredCall]) -> set[str]:
        replied_at = self._replied.at
        return {
            call.turn_id
            for call in calls
            if call.caller == blow.process and call.at <= blow.at < replied_at.get(call.turn_id, blow.at + 1.0)
        }


def _between(first: AnsweredCall, blow: Blow, again: AnsweredCall) -> bool:
    """Whether a blow fell on the first caller before the call was made again."""
    return blow.process == first.caller and first.at - _WAKE_S <= blow.at <= again.at


class _Buried:
    """The dead letters. They name the record they come from; a crash may publish one again."""

    def __init__(self, requested: _Requested, replied: _Replied, letters: Sequence[TopicRecord]) -> None:
        due = {place: Reason(line.poison) for place, line in requested.poison.items() if line.poison is not None}
        for turn_id, outcome in replied.outcome.items():
            if outcome == "failed":
                # Every fault of a run passes: patience can run out, but nothing else is wrong with a sound turn.
                due[requested.places[turn_id]] = Reason.RETRIES_EXHAUSTED
        found: defaultdict[Place, list[TopicRecord]] = defaultdict(list)
        for letter in letters:
            found[int(letter.headers["dlq.partition"]), int(letter.headers["dlq.offset"])].append(letter)
        self.missing = sorted(due.keys() - found.keys())
        self.stray = sorted(found.keys() - due.keys())
        self.repeated = sum(len(same) - 1 for same in found.values())
        self.altered = [
            place
            for place, reason in due.items()
            if not all(_as_it_was(requested.records[place], letter, reason) for letter in found[place])
        ]


def _as_it_was(record: TopicRecord, letter: TopicRecord, reason: Reason) -> bool:
    """Whether a dead letter has the record's own bytes and the right reason."""
    return letter.headers["dlq.reason"] == reason.value.encode() and (letter.key, letter.value) == (
        record.key,
        record.value,
    )
