"""The count sees every way in which a promise can be broken: a harness that finds nothing must be able to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import orjson
import pytest

from forebay.rehearsal.chaos.count import count
from forebay.rehearsal.chaos.counts import Counts
from forebay.rehearsal.chaos.evidence import Blow, Evidence, TopicRecord
from forebay.rehearsal.chaos.script import Line, Poison
from forebay.rehearsal.chaos.watched_model_api import AnsweredCall
from forebay.rehearsal.model_api import reply_text

FIRST, SECOND, OTHER = (
    Line(f"t-{number:06d}", conversation, f"t-{number:06d} hello", stream=False)
    for number, conversation in ((0, "c-1"), (1, "c-1"), (2, "c-2"))
)
BAD = Line("p-000003", "c-2", "p-000003 hello", stream=False, poison=Poison.INVALID)
SCRIPT = (FIRST, SECOND, OTHER, BAD)


@dataclass
class Run:
    """A run in which all went well; each test spoils something."""

    replies: list[TopicRecord] = field(default_factory=list)
    letters: list[TopicRecord] = field(default_factory=list)
    calls: list[AnsweredCall] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reply(FIRST, [FIRST.text])
        self.reply(SECOND, [FIRST.text, SECOND.text])
        self.reply(OTHER, [OTHER.text])
        headers = {"dlq.partition": b"0", "dlq.offset": b"3", "dlq.reason": b"invalid"}
        self.letters.append(TopicRecord(0, 0, 14.0, BAD.key, BAD.value, headers))
        self.calls = [AnsweredCall(line.turn_id, "a", at) for line, at in ((FIRST, 9.0), (SECOND, 10.0), (OTHER, 11.0))]

    def reply(self, line: Line, said: list[str], outcome: str = "answered", reply_id: str = "r") -> None:
        """Publishes a reply: the one at offset n at second n + 10."""
        offset = len(self.replies)
        reply = {"turn_id": line.turn_id, "reply_id": reply_id, "outcome": outcome, "text": reply_text(said)}
        self.replies.append(TopicRecord(0, offset, 10.0 + offset, line.key, orjson.dumps(reply), {}))

    def counted(self) -> Counts:
        requests = [TopicRecord(0, offset, 1.0, line.key, line.value, {}) for offset, line in enumerate(SCRIPT)]
        return count(SCRIPT, Evidence(requests, self.replies, self.letters, self.calls, self.blows))


def test_all_went_well() -> None:
    counts = Run().counted()
    assert not counts.broken()
    assert (counts.turns, counts.answered, counts.poison, counts.extra_calls) == (3, 3, 1, 0)


def lose(run: Run) -> None:
    del run.replies[2]


def answer_twice(run: Run) -> None:
    run.reply(OTHER, [OTHER.text], reply_id="another")


def swap(run: Run) -> None:
    run.replies[0], run.replies[1] = run.replies[1]._replace(offset=0), run.replies[0]._replace(offset=1)


def forget(run: Run) -> None:
    del run.replies[1]
    run.reply(SECOND, [SECOND.text])


def show_too_much(run: Run) -> None:
    del run.replies[2]
    run.reply(OTHER, [FIRST.text, OTHER.text])


def give_up(run: Run) -> None:
    del run.replies[2]
    run.reply(OTHER, [OTHER.text], outcome="failed")


def give_up_for_another_reason(run: Run) -> None:
    give_up(run)
    headers = {"dlq.partition": b"0", "dlq.offset": b"2", "dlq.reason": b"handler_error"}
    run.letters.append(TopicRecord(0, 1, 15.0, OTHER.key, OTHER.value, headers))


def answer_without_a_model(run: Run) -> None:
    value = orjson.dumps({"turn_id": OTHER.turn_id, "outcome": "answered", "text": "Please call us."})
    run.replies[2] = run.replies[2]._replace(value=value)


def call_after_the_reply(run: Run) -> None:
    run.calls.append(AnsweredCall(FIRST.turn_id, "b", 20.0))


def call_twice(run: Run) -> None:
    run.calls.append(AnsweredCall(OTHER.turn_id, "a", 11.5))


def call_thrice_after_a_blow(run: Run) -> None:
    run.blows.append(Blow("a", "sigkill", 11.2))
    run.calls += [AnsweredCall(OTHER.turn_id, "b", 11.5), AnsweredCall(OTHER.turn_id, "c", 11.6)]


def stop_who_took_over(run: Run) -> None:
    call_thrice_after_a_blow(run)
    run.blows.append(Blow("b", "sigstop", 11.55))


def do_not_bury(run: Run) -> None:
    run.letters.clear()


def bury_a_sound_turn(run: Run) -> None:
    run.letters.append(run.letters[0]._replace(headers={**run.letters[0].headers, "dlq.offset": b"0"}))


def alter_a_dead_letter(run: Run) -> None:
    run.letters[0] = run.letters[0]._replace(value=b"{}")


def bury_with_another_reason(run: Run) -> None:
    run.letters[0] = run.letters[0]._replace(headers={**run.letters[0].headers, "dlq.reason": b"undecodable"})


def call_for_poison(run: Run) -> None:
    run.calls.append(AnsweredCall(BAD.turn_id, "a", 12.0))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lose, "1 lost"),
        (answer_twice, "1 answered twice"),
        (swap, "1 out of order"),
        (forget, "1 answered without their past"),
        (show_too_much, "1 answered without their past"),
        (give_up, "1 without a dead letter"),
        (give_up_for_another_reason, "1 dead letters altered"),
        (answer_without_a_model, "1 answered without their past"),
        (call_after_the_reply, "1 model calls for turns that had their reply"),
        (call_twice, "1 model calls made twice by one worker"),
        (call_thrice_after_a_blow, "2 model calls made again with 1 in flight at the kills"),
        (do_not_bury, "1 without a dead letter"),
        (bury_a_sound_turn, "1 dead letters of sound turns"),
        (alter_a_dead_letter, "1 dead letters altered"),
        (bury_with_another_reason, "1 dead letters altered"),
        (call_for_poison, "1 model calls for poison"),
    ],
)
def test_what_is_broken_is_found(spoil: Callable[[Run], None], found: str) -> None:
    run = Run()
    spoil(run)
    assert any(line.startswith(found) for line in run.counted().broken())


def test_repeats_are_no_breach() -> None:
    run = Run()
    run.reply(FIRST, [FIRST.text])
    run.letters.append(run.letters[0]._replace(offset=1))
    counts = run.counted()
    assert not counts.broken()
    assert (counts.repeats, counts.repeated_letters) == (1, 1)


def test_a_call_in_flight_at_a_blow_may_be_made_again() -> None:
    run = Run(blows=[Blow("a", "sigkill", 11.2)])
    run.calls.append(AnsweredCall(OTHER.turn_id, "b", 11.5))
    counts = run.counted()
    assert not counts.broken()
    assert (counts.extra_calls, counts.extra_after_kill, counts.in_flight) == (1, 1, 1)


def test_each_blow_accounts_for_the_call_after_it() -> None:
    run = Run()
    stop_who_took_over(run)
    counts = run.counted()
    assert not counts.broken()
    assert (counts.extra_after_kill, counts.extra_after_stop, counts.in_flight) == (1, 1, 1)


def test_a_process_that_wakes_up_may_call_beside_who_took_over() -> None:
    run = Run(blows=[Blow("a", "sigstop", 11.2)])
    run.calls += [AnsweredCall(OTHER.turn_id, "b", 11.5), AnsweredCall(OTHER.turn_id, "a", 11.9)]
    counts = run.counted()
    assert not counts.broken()
    assert (counts.extra_calls, counts.extra_after_stop, counts.in_flight) == (2, 2, 0)


def test_a_process_that_wakes_up_may_find_that_its_time_was_up() -> None:
    run = Run(blows=[Blow("a", "sigstop", 2.0), Blow("a", "sigstop", 10.9)])
    run.calls.append(AnsweredCall(OTHER.turn_id, "a", 11.9))
    counts = run.counted()
    assert not counts.broken()
    assert counts.extra_after_stop == 1


def test_a_call_in_flight_may_be_made_again_by_who_takes_over() -> None:
    run = Run()
    run.calls.append(AnsweredCall(OTHER.turn_id, "b", 11.5))
    counts = run.counted()
    assert not counts.broken()
    assert (counts.extra_calls, counts.extra_handed_over) == (1, 1)


def test_what_was_replied_to_was_not_in_flight() -> None:
    run = Run(blows=[Blow("a", "sigkill", 30.0), Blow("b", "sigkill", 9.5)])
    assert run.counted().in_flight == 0


def test_examples_name_the_turns() -> None:
    run = Run()
    lose(run)
    assert run.counted().examples == (f"lost: {OTHER.turn_id}",)
    assert replace(run.counted(), examples=()) == run.counted()
