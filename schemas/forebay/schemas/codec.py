"""Decodes and encodes messages: strict JSON in, compact JSON out.

Reading is strict on types (a number is not a timestamp, ``"yes"`` is not a boolean), so that what the JSON Schemas
say is exactly what is accepted.
"""

from __future__ import annotations

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from .cancellation import Cancellation
from .command import Command
from .deadletter import Failure, Reason
from .delta import Delta
from .feedback import Feedback
from .person_message import PersonMessage
from .reply import Reply
from .turn import Turn
from .worker_state import WorkerState

Message = TypeVar("Message", bound=BaseModel)

_OPTIONS = orjson.OPT_UTC_Z


class DecodeError(ValueError):
    """The bytes are not a valid message; `failure` has the reason and message for a dead letter."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(reason, message)


def encode(message: BaseModel, *, unset: bool = True) -> bytes:
    """Compact UTF-8 JSON; timestamps in RFC 3339 with Z. ``unset=False`` leaves out fields that were not given."""
    try:
        return orjson.dumps(message.model_dump(exclude_unset=not unset), option=_OPTIONS)
    except TypeError:  # an integer of more than 64 bits among the attributes: JSON has them, orjson does not
        return message.model_dump_json(exclude_unset=not unset).encode()


def decode_turn(value: bytes | None, key: bytes | None = None) -> Turn:
    """The turn in a record.

    Raises DecodeError with `undecodable`, `invalid`, or `key_mismatch` when the key names another conversation.
    """
    try:
        turn = _decode(Turn, value)
    except DecodeError:
        turn = _decode(Turn, _without_nulls(value))
    if key is not None and key != turn.conversation_id.encode():
        shown = key[:128].decode("utf-8", "backslashreplace")
        raise DecodeError(Reason.KEY_MISMATCH, f"the key is {shown!r} but conversation_id is {turn.conversation_id!r}")
    return turn


def decode_reply(value: bytes | None) -> Reply:
    """The reply in a record. Raises DecodeError."""
    return _decode(Reply, value)


def decode_delta(value: bytes | None) -> Delta:
    """The delta in a record. Raises DecodeError."""
    return _decode(Delta, value)


def decode_worker_state(value: bytes | None) -> WorkerState:
    """A worker's state in a record. Raises DecodeError."""
    return _decode(WorkerState, value)


def decode_command(value: bytes | None) -> Command:
    """The command in a record. Raises DecodeError."""
    return _decode(Command, value)


def decode_cancellation(value: bytes | None) -> Cancellation:
    """The cancellation in a record. Raises DecodeError."""
    return _decode(Cancellation, value)


def decode_person_message(value: bytes | None) -> PersonMessage:
    """A person's message in a record. Raises DecodeError."""
    return _decode(PersonMessage, value)


def decode_feedback(value: bytes | None) -> Feedback:
    """The feedback in a record. Raises DecodeError."""
    return _decode(Feedback, value)


def identity(value: bytes | None) -> tuple[str, str] | None:
    """(turn_id, conversation_id) of a record that is not a valid turn, where both can be read, else None.

    So that the frontend that waits for that turn can still be told that it failed.
    """
    try:
        fields = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict):
        return None
    turn_id, conversation_id = fields.get("turn_id"), fields.get("conversation_id")
    if not (isinstance(turn_id, str) and isinstance(conversation_id, str)):
        return None
    return (turn_id, conversation_id) if 0 < len(turn_id) <= 128 and 0 < len(conversation_id) <= 128 else None


def _decode(kind: type[Message], value: bytes | None) -> Message:
    if value is None:
        raise DecodeError(Reason.UNDECODABLE, "the record has no value (a tombstone)")
    try:
        return kind.model_validate_json(value, strict=True)
    except ValidationError as error:
        raise _explain(error) from None
    except UnicodeError as error:
        raise DecodeError(Reason.UNDECODABLE, f"not UTF-8: {error}") from None


def _without_nulls(value: bytes | None) -> bytes | None:
    """Some JSON libraries write null for what was not set: at the top level it counts as absent."""
    try:
        fields = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return value
    if not isinstance(fields, dict) or None not in fields.values():
        return value
    return orjson.dumps({name: field for name, field in fields.items() if field is not None})


def _explain(error: ValidationError) -> DecodeError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return DecodeError(Reason.UNDECODABLE, first["msg"])
    where = ".".join(str(step) for step in first["loc"]) or "the turn"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return DecodeError(Reason.INVALID, f"{where}: {first['msg']}{more}")
