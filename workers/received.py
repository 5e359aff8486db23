"""A received turn: one record of ``chat.requests`` with what is needed to answer it, commit it, or bury it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from schemas import DecodeError, Failure, Headers, Turn, decode_turn

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
    ledger: Ledger
    """Progress of the partition as it was when this record was polled: a partition that left and came back has another."""

    @property
    def lane(self) -> Hashable:
        """Turns of one lane are answered one at a time: the conversation, or the record's key where that is all there is."""
        if self.turn is not None:
            return self.turn.conversation_id
        return self.key or (self.partition, self.offset)

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
        ledger,
    )
