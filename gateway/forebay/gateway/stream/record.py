"""A record of a conversation, as the gateway keeps it, with its place in one of the topics."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord


class Stream(Enum):
    """The topics that a gateway reads."""

    REQUESTS = "requests"
    REPLIES = "replies"
    DELTAS = "deltas"
    MESSAGES = "messages"


class ConversationRecord(NamedTuple):
    """A turn, reply, delta or person's message, not decoded."""

    stream: Stream
    partition: int
    offset: int
    conversation: bytes
    """The conversation's id, which is the record's key."""
    value: bytes
    turn_id: str | None
    """None if the value is no JSON object with a turn id."""
    timestamp: int
    """Milliseconds since the epoch."""

    @classmethod
    def of(cls, stream: Stream, raw: ConsumerRecord) -> ConversationRecord | None:
        """From a record of Kafka; None if it has no value."""
        if raw.value is None:
            return None
        turn_id, conversation = _names(raw.value)
        return cls(stream, raw.partition, raw.offset, raw.key or conversation, raw.value, turn_id, raw.timestamp)


def fields_of(record: ConversationRecord) -> dict[str, Any]:
    """Fields of the value, not validated; empty if it is no JSON object."""
    try:
        fields = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _names(value: bytes) -> tuple[str | None, bytes]:
    """(turn id, conversation id) as the value says them; None and empty where it does not."""
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None, b""
    if not isinstance(fields, dict):
        return None, b""
    turn_id, conversation = fields.get("turn_id"), fields.get("conversation_id")
    return (
        turn_id if isinstance(turn_id, str) else None,
        conversation.encode() if isinstance(conversation, str) else b"",
    )
