"""The ledger and its completion map: nothing that is not done is ever committed as done."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas import completion
from forebay.workers.engine.ledger import Ledger

offsets = st.integers(0, 2**40)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    """(base, polled offsets ascending with gaps, the ones done in the order they finish)."""
    base = draw(offsets)
    gaps = draw(st.lists(st.integers(0, 40), min_size=1, max_size=200))
    polled, at = [], base
    for gap in gaps:
        at += gap
        polled.append(at)
        at += 1
    done = draw(st.lists(st.sampled_from(polled), unique=True))
    return base, polled, done


def ledger_of(base: int, polled: list[int], done: list[int]) -> Ledger:
    ledger = Ledger(base)
    assert all(ledger.polled(offset) for offset in polled)
    for offset in done:
        ledger.done(offset)
    return ledger


@given(histories())
def test_the_commit_is_the_lowest_offset_not_done(history: tuple[int, list[int], list[int]]) -> None:
    base, polled, done = history
    undone = sorted(set(polled) - set(done))
    point = ledger_of(base, polled, done).commit_point()
    assert point.offset == (undone[0] if undone else polled[-1] + 1)
    assert len(point.metadata) <= completion.MAX_METADATA


@given(histories(), st.sampled_from([4096, 64, 24, 0]))
def test_after_a_restart_only_what_is_not_done_comes_again(
    history: tuple[int, list[int], list[int]], limit: int
) -> None:
    base, polled, done = history
    point = ledger_of(base, polled, done).commit_point(limit)
    restarted = Ledger(*point)
    again = {offset for offset in polled if offset >= point.offset and restarted.polled(offset)}
    assert set(polled) - set(done) <= again
    assert restarted.damaged is None
    if limit == 4096:
        assert again == set(polled) - set(done)


@given(histories())
def test_a_restart_that_polls_nothing_commits_the_same(history: tuple[int, list[int], list[int]]) -> None:
    point = ledger_of(*history).commit_point()
    assert Ledger(*point).commit_point() == point


@given(histories(), st.data())
def test_a_restart_in_the_middle_of_catching_up_keeps_the_map(
    history: tuple[int, list[int], list[int]], data: st.DataObject
) -> None:
    base, polled, done = history
    point = ledger_of(base, polled, done).commit_point()
    restarted = Ledger(*point)
    seen = data.draw(st.integers(0, len(polled)))
    for offset in [offset for offset in polled if offset >= point.offset][:seen]:
        if restarted.polled(offset):
            restarted.done(offset)
            done = [*done, offset]
    third = Ledger(*restarted.commit_point())
    again = {offset for offset in polled if offset >= third.position and third.polled(offset)}
    assert again == set(polled) - set(done)


@given(offsets, st.text(max_size=200))
def test_foreign_metadata_is_ignored(base: int, metadata: str) -> None:
    ledger = Ledger(base, metadata)
    assert ledger.commit_point() == (base, "")
    assert ledger.polled(base)
    assert (ledger.damaged is None) == (metadata == "")


@given(histories(), st.integers(0, 10_000), st.characters(min_codepoint=33, max_codepoint=126))
def test_damaged_metadata_is_ignored(history: tuple[int, list[int], list[int]], at: int, letter: str) -> None:
    offset, metadata = ledger_of(*history).commit_point()
    if not metadata:
        return
    at %= len(metadata)
    damaged = metadata[:at] + letter + metadata[at + 1 :]
    ledger = Ledger(offset, damaged)
    # Base64 ignores nothing here: either the letter was the same, or the map is refused whole.
    assert (ledger.damaged is None) == (damaged == metadata) or ledger.commit_point() == (offset, metadata)


@given(histories())
def test_a_map_beside_another_offset_is_refused(history: tuple[int, list[int], list[int]]) -> None:
    offset, metadata = ledger_of(*history).commit_point()
    if metadata:
        assert Ledger(offset + 1, metadata).damaged is not None


@given(histories())
def test_a_map_that_reaches_beyond_the_log_is_refused(history: tuple[int, list[int], list[int]]) -> None:
    base, polled, done = history
    offset, metadata = ledger_of(base, polled, done).commit_point()
    assert Ledger(offset, metadata, polled[-1] + 1).damaged is None
    if metadata:
        assert Ledger(offset, metadata, offset + 1).damaged is not None


def test_one_stuck_turn_with_many_done_behind_it_is_a_few_characters() -> None:
    ledger = ledger_of(0, list(range(200_000)), list(range(1, 199_999)))
    assert len(ledger.commit_point().metadata) <= 20


def test_alternating_offsets_fit_as_a_bitset() -> None:
    ledger = ledger_of(0, list(range(20_000)), list(range(1, 20_000, 2)))
    restarted = Ledger(*ledger.commit_point())
    assert restarted.pending == 10_000


@pytest.mark.parametrize("runs", [[1 << 21, 1], [1, 2, 3]])
def test_absurd_maps_are_refused_before_they_take_memory(runs: list[int]) -> None:
    body = b"".join(map(completion._varint, runs))
    packed = completion._checksum("r", 5, body) + body
    metadata = "sw1r" + base64.urlsafe_b64encode(packed).decode()
    assert Ledger(5, metadata).damaged == "absurd run lengths"


def test_a_record_that_kafka_no_longer_has_does_not_freeze_the_commit() -> None:
    ledger = ledger_of(0, [0, 1, 2, 3], [1, 3])
    restarted = Ledger(*ledger.commit_point())
    assert restarted.polled(0)
    assert restarted.polled(4)  # 2 was deleted by retention
    restarted.done(0)
    assert restarted.commit_point().offset == 4


def test_records_seen_before_are_not_taken_again() -> None:
    ledger = Ledger(10)
    assert [ledger.polled(10), ledger.polled(10), ledger.polled(9), ledger.polled(11)] == [True, False, False, True]
