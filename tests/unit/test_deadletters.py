"""Dead letters without Kafka: which are meant, what marks say, how fast they leave, how they look on a screen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from forebay.cli.dlq_screen import as_json, json_lines, row, visible, visible_bytes, whole
from forebay.operations import DeadLetter, Filter, LetterId, ReplayPlan
from forebay.operations.dead_letters.letter import letter_of, milliseconds, way_back
from forebay.operations.dead_letters.pace import ReplayPace
from forebay.operations.dead_letters.replay import parcels
from forebay.operations.dead_letters.replay_plan import OTHER_REASONS, is_mark, read_mark, runs, write_mark
from forebay.operations.times import read_time
from forebay.schemas import Failure, Reason, dead_letter_headers, replayed
from forebay.schemas.headers import replay_count, replay_headers

TOPIC = "chat.requests.dlq"
NOW = datetime(2026, 11, 11, 12, tzinfo=UTC)
PLACE = LetterId(3, 1042)

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
headers = st.lists(st.tuples(names, st.binary(max_size=20)), max_size=6).map(tuple)
offset_sets = st.sets(st.integers(0, 300), min_size=1)
spans = st.builds(range, st.integers(0, 100), st.integers(100, 301))


def letter(
    value: bytes | None = b'{"turn_id": "t-1", "conversation_id": "c-1", "text": "hi", "tenant": "eu"}',
    *,
    key: bytes | None = b"c-1",
    reason: str | None = "retries_exhausted",
    at: datetime = NOW,
    more: tuple[tuple[str, bytes], ...] = (),
) -> DeadLetter:
    written = () if reason is None else (("dlq.reason", reason.encode()),)
    return DeadLetter(TOPIC, PLACE, milliseconds(at), key, value, (*more, *written))


def record(offset: int, size: int = 0) -> ConsumerRecord:
    return ConsumerRecord(TOPIC, 0, offset, 0, 0, None, b"x" * size, None, 0, size, ())


# -- headers of a replay -----------------------------------------------------------------------------------------------


@given(headers, st.integers(0, 5))
def test_a_replay_has_the_original_headers_in_their_order(
    original: tuple[tuple[str, bytes], ...], replays: int
) -> None:
    kept = tuple(entry for entry in original if not entry[0].startswith(("dlq.", "replay.")))
    sent, failure = kept, Failure(Reason.HANDLER_ERROR, "no")
    for number in range(1, replays + 1):
        died = dead_letter_headers(
            sent, failure, topic="t", partition=0, offset=0, timestamp=0, failed_at=NOW, worker="w"
        )
        sent = replay_headers(died, f"{TOPIC}-0-{number}")
        assert sent[:-2] == kept
        assert dict(sent)["replay.of"].decode() == f"{TOPIC}-0-{number}"
        assert replay_count(sent) == number
        assert replayed(sent)
    assert replay_count(sent) == replays


@pytest.mark.parametrize("written", [b"", b"x", b"-1", b"1.5", "²".encode(), b" 2"])
def test_a_senseless_count_is_none(written: bytes) -> None:
    assert replay_count([("replay.count", written)]) == 0


def test_a_huge_count_does_not_grow() -> None:
    assert replay_count([("replay.count", b"9" * 10_000)]) == 999_999_999


# -- ids and filters ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 999), st.integers(0, 2**60))
def test_an_id_is_read_as_it_is_written(partition: int, offset: int) -> None:
    place = LetterId(partition, offset % 10**18)
    assert LetterId.parse(str(place), TOPIC) == place
    assert LetterId.parse(f"{TOPIC}-{place}", TOPIC) == place


@pytest.mark.parametrize(
    "text", ["", "3", "3-", "-3", "3-x", "a-b-c", "3-1042-", "³-1", "chat.requests-3-1042", " 3-1"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no dead letter's id|does not lie on"):
        LetterId.parse(text, TOPIC)


def test_a_filter_means_letters_to_which_all_of_it_applies() -> None:
    one = letter()
    for meant in (
        Filter(),
        Filter(reasons=frozenset({"invalid", "retries_exhausted"})),
        Filter(conversation="c-1"),
        Filter(tenant="eu"),
        Filter(since=NOW),
        Filter(until=NOW + timedelta(milliseconds=1)),
        Filter(ids=frozenset({PLACE}), tenant="eu", since=NOW),
    ):
        assert meant.matches(one), meant
    for other in (
        Filter(reasons=frozenset({"invalid"})),
        Filter(conversation="c-2"),
        Filter(tenant="us"),
        Filter(since=NOW + timedelta(milliseconds=1)),
        Filter(until=NOW),
        Filter(ids=frozenset({LetterId(3, 1)})),
        Filter(tenant="eu", conversation="c-2"),
    ):
        assert not other.matches(one), other


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"[1]", b'"c-1"', b'{"conversation_id": 7}', b"[" * 10_000])
def test_what_cannot_be_read_is_found_by_its_key_reason_and_time(value: bytes | None) -> None:
    bad = letter(value, reason="undecodable")
    assert Filter(conversation="c-1").matches(bad)
    assert Filter(reasons=frozenset({"undecodable"}), since=NOW).matches(bad)
    assert not Filter(tenant="eu").matches(bad)
    assert (bad.turn_id, bad.text) == (None, None)


def test_a_key_that_contradicts_the_value_is_found_by_both() -> None:
    mismatch = letter(key=b"c-2")
    assert Filter(conversation="c-1").matches(mismatch)
    assert Filter(conversation="c-2").matches(mismatch)


def test_a_filter_needs_to_know_which_clock() -> None:
    with pytest.raises(ValueError, match="no offset from UTC"):
        Filter(since=datetime(2026, 11, 11))  # noqa: DTZ001


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9990, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_milliseconds_are_exact(at: datetime) -> None:
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds(at)) - at < timedelta(milliseconds=1)
    assert milliseconds(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds(at))) == milliseconds(at)


@pytest.mark.parametrize("timestamp", [-(10**15), -1, 0, 10**18])
def test_a_timestamp_that_no_calendar_has(timestamp: int) -> None:
    odd = DeadLetter(TOPIC, LetterId(0, 0), timestamp, None, None, ())
    assert 1970 <= odd.died_at.year <= 9999
    assert "\n".join(whole(odd))


def test_a_replay_goes_back_where_it_came_from() -> None:
    def came_from(partition: bytes, topic: bytes = b"chat.requests", key: bytes | None = b"c-1") -> int:
        one = letter(more=(("dlq.topic", topic), ("dlq.partition", partition)), key=key)
        return way_back(one, "chat.requests", range(12))

    assert came_from(b"7") == 7
    by_key = came_from(b"12")
    assert by_key == came_from(b"x") == came_from(b"7", b"other") == came_from(b"-1")
    assert by_key == came_from(b"9" * 100)
    assert came_from(b"x", key=None) == 3


# -- marks and plans ---------------------------------------------------------------------------------------------------


@given(offset_sets)
def test_runs_are_the_offsets(offsets: set[int]) -> None:
    found = runs(sorted(offsets))
    assert {offset for first, last in found for offset in range(first, last + 1)} == offsets
    assert all(first[1] + 1 < second[0] for first, second in pairwise(found))


@given(offset_sets, st.integers(0, 99))
def test_a_mark_says_what_was_written(offsets: set[int], partition: int) -> None:
    value, written = write_mark(TOPIC, partition, sorted(offsets))
    assert is_mark(written)
    assert read_mark(value, TOPIC, LetterId(partition, 301)) == runs(sorted(offsets))


def test_a_mark_of_another_place_hides_nothing() -> None:
    value, _ = write_mark(TOPIC, 3, [10, 11])
    assert read_mark(value, TOPIC, LetterId(3, 12))
    assert read_mark(value, TOPIC, LetterId(3, 11)) == ()
    assert read_mark(value, TOPIC, LetterId(4, 12)) == ()
    assert read_mark(value, "copy.of.it", LetterId(3, 12)) == ()


@given(
    st.binary()
    | st.recursive(
        st.none() | st.integers() | names,
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["topic", "partition", "replayed", "x"]), inner)
        ),
    ).map(lambda data: json.dumps(data).encode())
)
def test_a_damaged_mark_hides_nothing(value: bytes) -> None:
    assert read_mark(value, TOPIC, LetterId(0, 100)) == ()


def test_a_dead_letter_is_no_mark_even_if_a_producer_wrote_its_header() -> None:
    forged = (("dlq.replayed", b"1"),)
    buried = dead_letter_headers(
        forged, Failure(Reason.INVALID, ""), topic="t", partition=0, offset=0, timestamp=0, failed_at=NOW, worker="w"
    )
    assert not is_mark(buried)


@given(spans, offset_sets, offset_sets, st.sets(st.integers(0, 300)), st.randoms())
def test_a_plan_does_not_depend_on_the_order_it_reads_in(
    span: range, seen: set[int], replayed_ones: set[int], worn_out: set[int], chance: object
) -> None:
    seen = {offset for offset in seen if offset in span}
    events: list[tuple[str, int]] = [("saw", offset) for offset in seen] + [
        ("mark", offset) for offset in replayed_ones
    ]
    chance.shuffle(events)  # type: ignore[attr-defined]
    plan = ReplayPlan({0: span})
    for kind, offset in events:
        if kind == "saw":
            plan.saw(LetterId(0, offset), f"reason {offset % 3}", worn_out=offset in worn_out)
        else:
            plan.mark(0, ((offset, offset),))
    left = seen - replayed_ones
    assert {offset for offset in range(400) if plan.selects(LetterId(0, offset))} == left - worn_out
    assert plan.replayed_before == len(seen & replayed_ones)
    assert plan.worn_out == len(left & worn_out)
    assert plan.selected == sum(plan.reasons.values()) == len(left - worn_out)
    chosen = sorted(left - worn_out)
    assert plan.selected_spans == ({0: range(chosen[0], chosen[-1] + 1)} if chosen else {})


def test_a_plan_holds_any_number_of_reasons() -> None:
    plan = ReplayPlan({0: range(1_000)})
    for offset in range(1_000):
        plan.saw(LetterId(0, offset), f"reason {offset}")
    assert plan.selected == 1_000
    assert plan.reasons[OTHER_REASONS] == 1_000 - 251


def test_a_mark_of_many_or_of_an_unknown_partition() -> None:
    plan = ReplayPlan({0: range(10, 20)})
    plan.saw(LetterId(0, 15), "x")
    plan.mark(0, ((0, 10**15), (3, 4)))
    plan.mark(9, ((0, 1),))
    assert (plan.selected, plan.replayed_before) == (0, 1)


# -- how they leave ----------------------------------------------------------------------------------------------------


@given(st.floats(0.5, 5_000), st.lists(st.tuples(st.integers(1, 1_000), st.floats(0, 10)), min_size=1, max_size=40))
def test_the_pace_is_kept_in_every_stretch_of_time(rate: float, sent: list[tuple[int, float]]) -> None:
    pace, now, left = ReplayPace(rate), 1_000.0, []
    for records, idle in sent:
        now += idle
        now += pace.wait_s(records, now)
        left.append((now, records))
    for begin in range(len(left)):
        for end in range(begin + 1, len(left)):
            # Between two parcels there is time enough for all but the last of them.
            took = left[end][0] - left[begin][0]
            assert sum(records for _, records in left[begin:end]) <= rate * took + 1e-3


def test_without_a_rate_nothing_waits() -> None:
    pace = ReplayPace(None)
    assert [pace.wait_s(1_000, 0.0) for _ in range(3)] == [0.0] * 3
    assert pace.parcel == 1_000


@pytest.mark.parametrize(("rate", "parcel"), [(0.01, 1), (5, 1), (100, 20), (1e9, 1_000)])
def test_a_slow_pace_is_an_even_one(rate: float, parcel: int) -> None:
    assert ReplayPace(rate).parcel == parcel


@given(st.lists(st.integers(0, 1_500_000), max_size=60), st.integers(1, 20))
async def test_parcels_keep_order_and_bounds(sizes: list[int], most: int) -> None:
    async def records() -> AsyncIterator[ConsumerRecord]:
        for offset, size in enumerate(sizes):
            yield record(offset, size)

    packed = [parcel async for parcel in parcels(records(), most)]
    assert [one.offset for parcel in packed for one in parcel] == list(range(len(sizes)))
    assert all(0 < len(parcel) <= most for parcel in packed)
    assert all(len(parcel) == 1 or sum(len(one.value) for one in parcel) <= 2 * 2**20 for parcel in packed)


# -- on a screen -------------------------------------------------------------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\t\x00\x9b31m\u202etxt\u2066\u200b\ufeff\U000e0041"


@given(st.text() | st.just(HOSTILE))
def test_no_letter_reaches_the_screen_that_could_drive_it(text: str) -> None:
    shown = visible(text)
    assert all(letter.isprintable() or letter.isspace() for letter in shown)
    assert not set(shown) & set("\x1b\x9b\r\n\t\x00\x07\x85\u2028\u2029\u202e\u2066\u200b")
    assert visible(shown) == shown


def test_ordinary_text_is_left_alone() -> None:
    for text in ("Is SKU001 in stock?", "那件蓝色的呢？\u3000谢谢", "naïve\u00a0café", "back\\slash"):
        assert visible(text) == text


@given(st.binary(), st.none() | st.binary(max_size=30), st.lists(st.tuples(names, st.binary(max_size=30)), max_size=4))
def test_any_bytes_can_be_shown(value: bytes, key: bytes | None, more: list[tuple[str, bytes]]) -> None:
    one = letter(value, key=key, reason=None, more=tuple(more))
    shown = [row(one, None), row(one, 80), visible_bytes(key), *"\n".join(whole(one)).split("\n")]
    assert all(visible(line) == line for line in shown)
    assert cell_len(row(one, 80)) <= 80
    printed = json_lines(as_json(one))
    assert visible(printed) == printed
    assert json.loads(printed) == json.loads(json.dumps(as_json(one)))
    indented = json_lines(as_json(one), indent=True)
    assert json.loads(indented) == json.loads(printed)
    assert all(visible(line) == line for line in indented.split("\n"))


def test_json_gives_back_every_byte() -> None:
    one = as_json(letter(b"\xff", key=None, reason=None, more=(("x", b"\x00\xff"), ("y", b"z"))))
    assert (one["key"], one["value_base64"]) == (None, "/w==")
    assert one["headers"] == [{"name": "x", "value_base64": "AP8="}, {"name": "y", "value": "z"}]


def test_a_header_without_a_value_is_an_empty_one() -> None:
    empty = ConsumerRecord(TOPIC, 0, 0, 0, 0, None, None, None, 0, 0, (("x", None),))
    assert letter_of(empty).headers == (("x", b""),)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("2026-11-11", datetime(2026, 11, 11, tzinfo=UTC)),
        ("2026-11-11T00:00Z", datetime(2026, 11, 11, tzinfo=UTC)),
        ("2026-11-11T08:00+08:00", datetime(2026, 11, 11, 8, tzinfo=timezone(timedelta(hours=8)))),
    ],
)
def test_a_time_as_people_write_it(text: str, meant: datetime) -> None:
    assert read_time(text, NOW) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "2", "h", "-2h", "2 h", "99999999d", "2026-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        read_time(text, NOW)
