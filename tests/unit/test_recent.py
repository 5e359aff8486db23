"""The gateway's memory of what was written lately, and the event ids that reach back into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.gateway.stream.cursor import Cursor, CursorError
from forebay.gateway.stream.recent import Recent
from forebay.gateway.stream.record import ConversationRecord, Stream

WRITTEN = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 3000)), max_size=60)


def record(partition: int, offset: int, conversation: bytes, size: int = 10) -> ConversationRecord:
    return ConversationRecord(Stream.REPLIES, partition, offset, conversation, b"x" * size, f"{partition}-{offset}", 0)


@given(WRITTEN, st.integers(600, 20_000), st.integers(0, 2), st.integers(0, 60))
def test_what_is_answered_is_whole_or_said_not_to_be(
    written: list[tuple[int, bytes, int]], most: int, partition: int, asked: int
) -> None:
    recent = Recent(most)
    log: dict[int, list[ConversationRecord]] = {0: [], 1: [], 2: []}
    for number in log:
        recent.begin(number, 0)
    for number, conversation, size in written:
        one = record(number, len(log[number]), conversation, size)
        log[number].append(one)
        recent.add(one)
    for conversation in (b"a", b"b", b"c"):
        found = recent.since(conversation, partition, asked)
        if found is not None:
            assert found == [one for one in log[partition][asked:] if one.conversation == conversation]


@given(WRITTEN, st.integers(600, 20_000))
def test_it_stays_within_its_bytes(written: list[tuple[int, bytes, int]], most: int) -> None:
    recent = Recent(most)
    offsets = [0, 0, 0]
    for number, conversation, size in written:
        recent.add(record(number, offsets[number], conversation, size))
        offsets[number] += 1
        kept = [one for name in (b"a", b"b", b"c") for one in recent.of(name)]
        assert sum(len(one.value) for one in kept) <= most
        assert len(kept) == len(recent)


def test_a_turn_is_found_by_its_id_until_it_is_too_old() -> None:
    recent = Recent(1_200)
    recent.begin(0, 0)
    recent.add(record(0, 0, b"a", 400))
    assert recent.of_turn("0-0", b"a") is not None
    recent.add(record(0, 1, b"a", 400))
    assert recent.of_turn("0-0", b"a") is None
    assert recent.since(b"a", 0, 0) is None
    assert [one.offset for one in recent.since(b"a", 0, 1) or ()] == [1]


def test_before_a_partition_is_followed_nothing_is_known_of_it() -> None:
    recent = Recent(10_000)
    assert recent.since(b"a", 0, 0) is None
    recent.begin(0, 7)
    assert recent.since(b"a", 0, 6) is None
    assert recent.since(b"a", 0, 7) == []


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
def test_an_event_id_is_read_as_it_was_written(replies: int, deltas: int) -> None:
    cursor = Cursor(replies, deltas)
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "7", "-7-1", "7-", "a-b", "7-1-2", "7-1 ", "7-1\n", "١-٢", "9" * 19 + "-1"])
def test_what_is_no_event_id_is_refused(text: str) -> None:
    with pytest.raises(CursorError, match="no event id"):
        Cursor.parse(text)


def test_what_is_forgotten_is_gone_and_the_rest_is_dropped_in_its_order() -> None:
    recent = Recent(3 * 520)
    recent.begin(0, 0)
    kept = [
        ConversationRecord(Stream.REPLIES, 0, offset, conversation, b"x" * 10, turn_id, 0)
        for offset, (conversation, turn_id) in enumerate([(b"a", "t"), (b"b", "t"), (b"a", "u")])
    ]
    for record in kept:
        recent.add(record)
    recent.forget(b"a")
    recent.forget(b"nobody")
    assert (len(recent), recent.of(b"a"), recent.of_turn("t", b"a"), recent.of_turns("u")) == (1, (), None, ())
    assert recent.of_turns("t") == (kept[1],)
    for offset in range(3, 7):
        recent.add(ConversationRecord(Stream.REPLIES, 0, offset, b"c", b"x" * 10, f"v{offset}", 0))
    assert [record.offset for record in recent.of(b"c")] == [4, 5, 6], "the bytes were counted back"
