"""What a reader of a conversation is told, whatever comes in whatever order of the two topics."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.gateway.stream.cursor import Cursor, CursorError
from forebay.gateway.stream.event import ConversationEvent
from forebay.gateway.stream.place import Place
from forebay.gateway.stream.record import ConversationRecord, Stream
from forebay.gateway.stream.subscription import MOST_BYTES, SLOW_BYTES, HeldBytes, Subscription


def reply(offset: int, turn_id: str, **fields: Any) -> ConversationRecord:
    value = {"turn_id": turn_id, "conversation_id": "c", "outcome": "answered", "text": "whole", **fields}
    return ConversationRecord(Stream.REPLIES, 0, offset, b"c", orjson.dumps(value), turn_id, 0)


def delta(offset: int, turn_id: str, sequence: int, text: str = "w", *, restart: bool = False) -> ConversationRecord:
    value = {"turn_id": turn_id, "conversation_id": "c", "sequence": sequence, "text": text, "restart": restart}
    return ConversationRecord(Stream.DELTAS, 0, offset, b"c", orjson.dumps(value), turn_id, 0)


def request(offset: int, turn_id: str) -> ConversationRecord:
    return ConversationRecord(Stream.REQUESTS, 0, offset, b"c", b"{}", turn_id, 0)


def told(subscription: Subscription) -> list[ConversationEvent]:
    """What waits for its reader; nothing has to be waited for."""
    events: list[ConversationEvent] = []
    while subscription._events:
        try:
            subscription.events().send(None)
        except StopIteration as taken:
            events += taken.value
    return events


def names(events: list[ConversationEvent]) -> list[str]:
    return [event.name for event in events]


def new(replies: int = 0, deltas: int = 0) -> Subscription:
    return Subscription(b"c", Cursor(replies, deltas))


def test_a_turn_from_its_place_to_its_reply() -> None:
    one = new()
    one.take(request(5, "t"))
    one.placed("t", Place(3, 1.5))
    one.placed("t", Place(3, 1.5))
    one.placed("t", Place(1, 0.5))
    for record in (delta(0, "t", 0, "Hel"), delta(1, "t", 1, "lo"), reply(0, "t", text="Hello")):
        one.take(record)
    one.placed("t", Place(0, 0.0))
    events = told(one)
    assert names(events) == ["queued", "queued", "started", "delta", "delta", "done"]
    assert events[0].data == {"turn_id": "t", "ahead": 3, "estimated_wait_s": 1.5}
    assert events[-1].data["reply"]["text"] == "Hello"
    assert events[-1].cursor == Cursor(1, 2, requests=6)
    assert not one.pending


def test_words_that_come_after_their_reply_are_dropped() -> None:
    one = new()
    for record in (delta(0, "t", 0), reply(0, "t"), delta(1, "t", 1), reply(1, "t"), delta(2, "u", 0)):
        one.take(record)
    assert [event.name for event in told(one)] == ["started", "delta", "done", "started", "delta"]


def test_a_gap_ends_the_words_until_they_begin_again() -> None:
    one = new()
    one.take(delta(0, "t", 0, "a"))
    one.take(delta(2, "t", 2, "c"))
    one.take(delta(3, "t", 3, "d"))
    one.take(delta(4, "t", 0, "A", restart=True))
    one.take(delta(5, "t", 1, "B"))
    assert [event.data["text"] for event in told(one) if event.name == "delta"] == ["a", "A", "B"]


def test_a_reader_that_comes_back_gets_replies_before_the_words_of_what_is_under_way() -> None:
    one = new(3, 10)
    one.catch_up([delta(10, "t", 4), delta(11, "t", 5), delta(12, "u", 0), reply(3, "t"), delta(13, "u", 1)])
    assert [(event.name, event.data["turn_id"]) for event in told(one)] == [
        ("done", "t"),
        ("started", "u"),
        ("delta", "u"),
        ("delta", "u"),
    ]


def test_an_action_is_asked_before_its_reply() -> None:
    one = new()
    action = {"action_id": "a-1", "summary": "cancel", "expires_at": "2026-11-11T00:00:00Z"}
    one.take(reply(0, "t", outcome="confirmation_required", action=action))
    asked, done = told(one)
    assert (asked.name, asked.data["action"], asked.cursor) == ("confirmation_required", action, None)
    assert done.cursor == Cursor(1, 0)


def test_a_slow_reader_loses_words_and_not_the_reply() -> None:
    lost: list[None] = []
    one = Subscription(b"c", Cursor(0, 0), lambda: lost.append(None))
    text = "w" * 1000
    for number in range(200):
        one.take(delta(number, "t", number, text))
    one.take(reply(0, "t", text=text * 200))
    events = told(one)
    assert lost
    kept = [event.data["sequence"] for event in events if event.name == "delta"]
    assert kept == list(range(len(kept)))
    assert 0 < len(kept) * 1000 < 2 * SLOW_BYTES
    assert events[-1].data["reply"]["text"] == text * 200


def test_after_words_were_lost_no_later_ones_of_that_turn_are_told() -> None:
    one = new()
    for number in range(200):
        one.take(delta(number, "t", number, "w" * 1000))
    told(one)
    one.take(delta(200, "t", 200))
    one.take(delta(201, "u", 0))
    assert [event.data["turn_id"] for event in told(one) if event.name == "delta"] == ["u"]


def test_a_reader_that_takes_nothing_is_closed_and_holds_nothing() -> None:
    one = new()
    for number in range(MOST_BYTES // 100_000 + 2):
        one.take(reply(number, f"t-{number}", text="w" * 100_000))
    assert one.overrun
    assert told(one) == []


def test_one_reply_may_be_larger_than_what_may_wait() -> None:
    one = new()
    one.take(reply(0, "t", text="w" * (MOST_BYTES + 1)))
    assert names(told(one)) == ["done"]


def test_what_waits_for_all_readers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.gateway.stream.subscription.MOST_HELD_BYTES", 500_000)
    held = HeldBytes()
    readers = [Subscription(b"c", Cursor(0, 0), held=held) for _ in range(20)]
    for number in range(10):
        for reader in readers:
            reader.take(reply(number, f"t-{number}", text="w" * 50_000))
            assert held.bytes <= 500_000 + 20 * (SLOW_BYTES + 60_000)
    assert any(reader.overrun for reader in readers)
    for reader in readers:
        reader.forget()
    assert held.bytes == 0


def test_a_heartbeat_moves_the_event_id_over_what_is_not_ours() -> None:
    one = new(3, 4)
    one.beat(Cursor(90, 80, 70, 60))
    (beat,) = told(one)
    assert beat.sse() == b": heartbeat\nid: 90-80-70-60\n\n"
    one.take(reply(89, "t"))  # it was said to have been passed on
    assert told(one) == []


@settings(deadline=None)
@given(st.data())
def test_wherever_a_reader_breaks_off_and_goes_on_each_reply_comes_once_and_in_order(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    replies = [reply(number, f"t-{number}", text=f"{number}") for number in range(count)]
    deltas = [delta(2 * number + half, f"t-{number}", half) for number in range(count) for half in (0, 1)]
    order = interleaved(data, replies, deltas)
    one, seen = new(), list[ConversationEvent]()
    for at, record in enumerate(order):
        one.take(record)
        if data.draw(st.booleans()):
            seen += told(one)
            cursor = next((event.cursor for event in reversed(seen) if event.cursor is not None), Cursor(0, 0))
            one = Subscription(b"c", cursor)
            one.catch_up(
                [
                    known
                    for known in order[: at + 1]
                    if known.offset >= (cursor.replies if known.stream is Stream.REPLIES else cursor.deltas)
                ]
            )
    seen += told(one)
    assert [event.data["turn_id"] for event in seen if event.name == "done"] == [
        f"t-{number}" for number in range(count)
    ]


def interleaved(
    data: st.DataObject, replies: list[ConversationRecord], deltas: list[ConversationRecord]
) -> list[ConversationRecord]:
    """Each topic in its order, the two of them mixed at will."""
    left, right, order = list(replies), list(deltas), list[ConversationRecord]()
    while left or right:
        order.append((left if left and (not right or data.draw(st.booleans())) else right).pop(0))
    return order


def message(offset: int, message_id: str, *, timestamp: int = 0, **fields: Any) -> ConversationRecord:
    value = {"message_id": message_id, "conversation_id": "c", "name": "Ann", "text": "Hello", **fields}
    return ConversationRecord(Stream.MESSAGES, 0, offset, b"c", orjson.dumps(value), None, timestamp)


def asked(offset: int, turn_id: str, *, timestamp: int = 0, **fields: Any) -> ConversationRecord:
    value = {"turn_id": turn_id, "conversation_id": "c", "text": "Where is it?", **fields}
    return ConversationRecord(Stream.REQUESTS, 0, offset, b"c", orjson.dumps(value), turn_id, timestamp)


def test_a_persons_message_is_told_once_with_its_time() -> None:
    one = new()
    for record in (message(4, "m-1", timestamp=1_000), message(5, "m-1"), message(3, "m-0"), message(6, "m-2", text=7)):
        one.take(record)
    (event,) = told(one)
    assert (event.name, event.cursor) == ("message", Cursor(0, 0, 5, 0))
    assert event.data == {"message_id": "m-1", "name": "Ann", "text": "Hello", "at": "1970-01-01T00:00:01Z"}
    assert one.cursor.messages == 7, "what is no message is passed over"


def test_a_turn_is_told_once_to_all_who_follow_the_conversation() -> None:
    one = new()
    for record in (asked(4, "t", user_id="u", stream=True), asked(5, "t"), reply(0, "t"), asked(6, "t")):
        one.take(record)
    turn, done = told(one)
    assert (turn.name, turn.data) == ("turn", {"turn_id": "t", "text": "Where is it?", "user_id": "u"})
    assert (turn.cursor, done.name) == (Cursor(0, 0, 0, 5), "done")


def test_who_comes_back_is_told_what_was_missed_in_the_order_of_its_time_and_the_deltas_last() -> None:
    one = new()
    records = [
        delta(0, "t-2", 0),
        reply(1, "t-1"),
        message(0, "m-1", timestamp=5),
        asked(8, "t-2", timestamp=7),
        asked(7, "t-1", timestamp=-2),
    ]
    one.waits(records[3], tell=False)
    one.catch_up(records)
    events = told(one)
    assert names(events) == ["turn", "done", "message", "turn", "started", "delta"]
    assert one.cursor == Cursor(2, 1, 1, 9)


def test_event_ids_are_read_with_or_without_the_later_positions() -> None:
    assert Cursor.parse("8-9-10-11") == Cursor(8, 9, 10, 11)
    assert str(Cursor(8, 9, 10, 11)) == "8-9-10-11"
    assert Cursor.parse("8-9").begun(Cursor(90, 90, 90, 91)) == Cursor(8, 9, 90, 91)
    for wrong in ("8", "8-9-10", "8-9-10-11-12", "8--9", "-8-9", "x-9"):
        with pytest.raises(CursorError):
            Cursor.parse(wrong)
    assert Cursor(1, 2, 3, 4).is_ahead_of(Cursor(1, 2, 2, 4))
    assert not Cursor(1, 2, 3, 4).is_ahead_of(Cursor(1, 2, 3, 4))
