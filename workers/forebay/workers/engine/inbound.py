"""An inbound record: one of ``chat.requests``, with what is needed to answer it, commit it or make it a dead letter."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from forebay.schemas import DecodeError, Failure, Headers, Turn, WhenBusy, decode_turn, identity, replayed

from .fairness import Origin
from .ledger import Ledger


@dataclass(frozen=True, slots=True, eq=False)
class InboundRecord:
    """One record, held as its bytes: what waits takes no more memory than it took on the wire.

    Decoded, a turn can be fifty times as large (attributes of many small objects), so `decode` is called again when its
    answer begins; that costs 3 us.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    """The record's own, milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    failure: Failure | None
    """Why it cannot be decoded as a turn; None when it can."""
    lane: Hashable
    """Turns of one lane are answered one at a time: the conversation, or what comes nearest to it in a bad record."""
    origin: Origin
    """Whose turn it is, and how urgent."""
    size: int
    """Bytes of key, value and headers."""
    ledger: Ledger
    """Progress of the partition as it was when this record was polled: a partition that left and came back has another."""
    turn_id: str = ""
    """Empty where it cannot be read."""
    characters: int = 0
    """Of its text; 0 for what is answered alone: a record that is no turn, or a word on an action."""
    when_busy: WhenBusy | None = None
    """What it does when its conversation is busy; None is the handler's rule."""

    def decode(self) -> Turn:
        """The turn. Raises DecodeError where `failure` is set."""
        return decode_turn(self.value, self.key)

    def deadline(self, turn_ttl_s: float, turn: Turn | None = None) -> float:
        """When its turn expires, in seconds since the epoch; with ``turn`` it is not decoded once more.

        A record that is no turn expires at once. The time of a replayed turn begins anew with its replay.
        """
        taken = self.timestamp / 1000
        if self.failure is not None:
            return taken
        if replayed(self.headers):
            return taken + turn_ttl_s
        turn = turn or self.decode()
        if turn.expires_at is not None:
            return turn.expires_at.timestamp()
        return (taken if turn.sent_at is None else turn.sent_at.timestamp()) + turn_ttl_s


def inbound_record(record: ConsumerRecord, ledger: Ledger) -> InboundRecord:
    """Reads what the engine needs of a record; one that cannot be decoded keeps its failure."""
    failure: Failure | None = None
    origin = Origin()
    turn: Turn | None = None
    try:
        turn = decode_turn(record.value, record.key)
    except DecodeError as error:
        failure, lane = error.failure, _nearest_lane(record)
    else:
        lane, origin = turn.conversation_id, Origin(turn.tenant, turn.user_id, turn.priority)
    headers, size = headers_and_size(record)
    return InboundRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        headers,
        failure,
        lane,
        origin,
        size,
        ledger,
        turn.turn_id if turn else "",
        len(turn.text) if turn and turn.confirm is None else 0,
        turn.when_busy if turn else None,
    )


def headers_and_size(record: ConsumerRecord) -> tuple[Headers, int]:
    """A record's headers, and how many bytes its key, value and headers have."""
    # Kafka lets a header have no value; for us that is an empty one.
    headers = tuple((name, value or b"") for name, value in record.headers)
    size = len(record.key or b"") + len(record.value or b"") + sum(len(name) + len(value) for name, value in headers)
    return headers, size


def _nearest_lane(record: ConsumerRecord) -> Hashable:
    """The lane of a bad record: its failed reply must not overtake the replies of the turns before it."""
    if names := identity(record.value):
        return names[1]
    if record.key is not None:
        return str(record.key, "utf-8", "backslashreplace")
    return record.partition, record.offset
