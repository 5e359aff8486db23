"""The messages: what is taken, what is refused, and that the published schemas say the same."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forebay.operations
import forebay.producers
import forebay.schemas
from forebay.schemas import (
    DecodeError,
    Delta,
    Failure,
    Reason,
    Reply,
    Topics,
    Turn,
    carried,
    dead_letter_headers,
    decode_command,
    decode_delta,
    decode_reply,
    decode_turn,
    encode,
    identity,
    new_id,
    replayed,
)
from forebay.schemas.contract import asyncapi, json_schemas

identifiers = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
times = st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001
turns = st.builds(
    Turn,
    turn_id=identifiers,
    conversation_id=identifiers,
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    user_id=st.none() | identifiers,
    sent_at=st.none() | times,
    priority=st.sampled_from(["high", "normal", "low"]),
    stream=st.booleans(),
    attributes=st.dictionaries(
        identifiers, st.none() | st.booleans() | st.integers(-1000, 1000) | identifiers, max_size=3
    ),
)


@given(turns)
def test_a_turn_survives_the_way(turn: Turn) -> None:
    assert decode_turn(encode(turn), turn.conversation_id.encode()) == turn


@given(turns, identifiers)
def test_a_reply_and_a_delta_survive_the_way(turn: Turn, text: str) -> None:
    reply = Reply(
        turn_id=turn.turn_id,
        conversation_id=turn.conversation_id,
        reply_id=new_id(),
        outcome="answered",
        text=text,
        created_at=datetime.now(UTC),
    )
    assert decode_reply(encode(reply)) == reply
    delta = Delta(turn_id=turn.turn_id, conversation_id=turn.conversation_id, sequence=3, text=text)
    assert decode_delta(encode(delta)) == delta


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_raise_anything_but_a_decode_error(value: bytes) -> None:
    identity(value)
    with contextlib.suppress(DecodeError):
        decode_turn(value)


MINIMAL = {"turn_id": "t", "conversation_id": "c", "text": "hi"}
TAKEN = [
    MINIMAL,
    {**MINIMAL, "text": "x" * 32_768},
    {**MINIMAL, "turn_id": "语" * 128},
    {**MINIMAL, "unknown": [1, {"a": None}]},
    {**MINIMAL, "expires_at": "2026-11-11T00:02:00+08:00", "sent_at": "2026-11-11T00:00:00.120Z"},
    {"turn_id": "t", "conversation_id": "c", "confirm": {"action_id": "a", "accept": False}},
    {**MINIMAL, "attributes": {"page": "/p", "deep": {"list": [1.5, None, True]}}},
]
REFUSED = [
    {},
    {**MINIMAL, "text": ""},
    {**MINIMAL, "text": "x" * 32_769},
    {**MINIMAL, "text": 5},
    {**MINIMAL, "turn_id": ""},
    {**MINIMAL, "turn_id": "t" * 129},
    {**MINIMAL, "turn_id": 7},
    {**MINIMAL, "priority": "urgent"},
    {**MINIMAL, "stream": "yes"},
    {**MINIMAL, "stream": 1},
    {**MINIMAL, "expires_at": 1_700_000_000},
    {**MINIMAL, "attributes": ["a"]},
    {"turn_id": "t", "conversation_id": "c"},
    {"turn_id": "t", "conversation_id": "c", "confirm": {"action_id": "a", "accept": "yes"}},
    {"turn_id": "t", "conversation_id": "c", "text": "", "confirm": None},
]


@pytest.mark.parametrize("value", TAKEN)
def test_the_schema_takes_what_workers_take(value: dict[str, object]) -> None:
    decode_turn(json.dumps(value).encode())
    jsonschema.validate(value, json_schemas()["turn"])


@pytest.mark.parametrize("value", REFUSED)
def test_the_schema_refuses_what_workers_refuse(value: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decode_turn(json.dumps(value).encode())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, json_schemas()["turn"])


def test_nulls_count_as_absent() -> None:
    value = {**MINIMAL, "priority": None, "stream": None, "attributes": None, "confirm": None, "user_id": None}
    assert decode_turn(json.dumps(value).encode()) == decode_turn(json.dumps(MINIMAL).encode())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.UNDECODABLE),
        (b"", Reason.UNDECODABLE),
        (b"\xff\xfe", Reason.UNDECODABLE),
        (b'{"turn_id": "\\ud800", "conversation_id": "c", "text": "x"}', Reason.UNDECODABLE),
        (b"[" * 100_000, Reason.UNDECODABLE),
        (b"null", Reason.INVALID),
        (b'"text"', Reason.INVALID),
    ],
)
def test_why_a_value_is_refused(value: bytes | None, reason: Reason) -> None:
    with pytest.raises(DecodeError) as refused:
        decode_turn(value)
    assert refused.value.failure.reason is reason
    assert refused.value.failure.message


def test_a_contradicting_key() -> None:
    with pytest.raises(DecodeError, match="the key is 'd' but conversation_id is 'c'"):
        decode_turn(json.dumps(MINIMAL).encode(), b"d")


def test_identity_of_what_is_no_turn() -> None:
    assert identity(b'{"turn_id": "t", "conversation_id": "c", "text": 5}') == ("t", "c")
    assert identity(b'{"turn_id": "t"}') is None
    assert identity(b"[]") is None
    assert identity(None) is None


def test_dead_letter_headers_keep_the_original_ones_and_replace_an_old_failure() -> None:
    original = (("a", b"1"), ("dlq.reason", b"old"), ("a", b"2"), ("replay.count", b"1"))
    failed_at = datetime(2026, 11, 11, tzinfo=UTC)
    headers = dead_letter_headers(
        original,
        Failure(Reason.INVALID, "text: too long", 0),
        topic="chat.requests",
        partition=3,
        offset=42,
        timestamp=1_700_000_000_000,
        failed_at=failed_at,
        worker="w-1",
    )
    assert headers[:3] == (("a", b"1"), ("a", b"2"), ("replay.count", b"1"))
    assert dict(headers[3:]) == {
        "dlq.reason": b"invalid",
        "dlq.message": b"text: too long",
        "dlq.topic": b"chat.requests",
        "dlq.partition": b"3",
        "dlq.offset": b"42",
        "dlq.timestamp": b"1700000000000",
        "dlq.attempts": b"0",
        "dlq.failed_at": b"2026-11-11T00:00:00Z",
        "dlq.worker": b"w-1",
    }


def test_headers_that_travel() -> None:
    headers = (("traceparent", b"00"), ("x", b"1"), ("ce_id", b"2"), ("tracestate", b"3"))
    assert carried(headers) == (("traceparent", b"00"), ("ce_id", b"2"), ("tracestate", b"3"))
    assert not replayed(headers)
    assert replayed((("replay.of", b"chat.requests.dlq-0-1"),))


def test_ids_are_version_7_and_in_order() -> None:
    ids = [new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(name[14] == "7" and name[19] in "89ab" for name in ids)
    assert [name[:13] for name in ids] == sorted(name[:13] for name in ids)


def test_the_asyncapi_document_resolves() -> None:
    document = asyncapi("shop", "1.0")
    for operation in document["operations"].values():
        for reference in (operation["channel"], *operation["messages"]):
            node = document
            for step in reference["$ref"].removeprefix("#/").split("/"):
                node = node[step]
    assert '"$ref": "#/$defs' not in json.dumps(document)
    assert {channel["address"] for channel in document["channels"].values()} <= {
        spec.name for spec in Topics("shop").specs()
    }


def test_dead_letters_take_more_than_requests() -> None:
    specs = {spec.name: spec for spec in Topics().specs()}
    assert len(specs) == 11
    assert int(specs["chat.requests.dlq"].settings["max.message.bytes"]) > 1_048_588 + 2_000


def test_exported_names() -> None:
    for package in (forebay.schemas, forebay.producers, forebay.operations):
        assert len(set(package.__all__)) == len(package.__all__)
        assert all(hasattr(package, name) for name in package.__all__)


def test_integers_of_any_size_travel() -> None:
    turn = Turn(turn_id="t", conversation_id="c", text="x", attributes={"n": 10**40, "m": -(10**40)})
    assert decode_turn(encode(turn)).attributes == turn.attributes


@pytest.mark.parametrize(
    ("word", "conversation_id", "right"),
    [("erase", "c-1", True), ("erase", None, False), ("pause", "c-1", False), ("pause", None, True)],
)
def test_only_an_erasure_names_a_conversation(word: str, conversation_id: str | None, right: bool) -> None:
    value = {
        "command_id": "1",
        "command": word,
        "conversation_id": conversation_id,
        "issued_at": "2026-11-11T00:00:00Z",
    }
    with contextlib.nullcontext() if right else pytest.raises(DecodeError, match="conversation_id goes with erase"):
        assert decode_command(json.dumps(value).encode()).conversation_id == conversation_id
