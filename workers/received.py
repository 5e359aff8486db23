"""A received turn: one record of ``chat.requests`` with what is needed to answer it, commit it, or bury it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from schemas import DecodeError, Failure, Headers, Turn, decode_turn, identity

from .progress import Ledger


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One record. Either it has a turn, or it has the failure that makes it a dead letter."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """The record's own, milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    turn: Turn | None
    failure: Failure | None
    lane: Hashable
    """Turns of one lane are answered one at a time: the conversation, or what comes nearest to it in a bad record."""
    ledger: Ledger
    """Progress of the partition as it was when this record was polled: a partition that left and came back has another."""

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


def receive(record: ConsumerRecord, ledger: Ledger) -> Received:
    """Decodes a record; what cannot be decoded is received too, with its failure."""
    turn: Turn | None = None
    failure: Failure | None = None
    try:
        turn = decode_turn(record.value, record.key)
    except DecodeError as error:
        failure = error.failure
    return Received(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple(record.headers),
        turn,
        failure,
        turn.conversation_id if turn is not None else _nearest_lane(record),
        ledger,
    )


def _nearest_lane(record: ConsumerRecord) -> Hashable:
    """So that the failed reply of a bad record does not overtake the replies of the turns before it."""
    if names := identity(record.value):
        return names[1]
    if record.key is not None:
        return str(record.key, "utf-8", "backslashreplace")
    return record.partition, record.offset
