"""Record headers: which are copied from a turn to its reply, and which a dead letter or a replay adds.

Headers are a sequence of (name, bytes) pairs as Kafka has them: order and repeated names are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

Headers = tuple[tuple[str, bytes], ...]

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
CLOUDEVENTS_PREFIX = "ce_"

DLQ_PREFIX = "dlq."
DLQ_REASON = "dlq.reason"
DLQ_MESSAGE = "dlq.message"
DLQ_TOPIC = "dlq.topic"
DLQ_PARTITION = "dlq.partition"
DLQ_OFFSET = "dlq.offset"
DLQ_TIMESTAMP = "dlq.timestamp"
DLQ_ATTEMPTS = "dlq.attempts"
DLQ_FAILED_AT = "dlq.failed_at"
DLQ_WORKER = "dlq.worker"
DLQ_REPLAYED = "dlq.replayed"
"""Marks a record on the dead letters' topic that is not a dead letter: it lists which ones were replayed."""

TENANT = "forebay.tenant"
"""On a reply: the tenant of its turn, so that costs can be split by tenant without reading the turns."""
LEFT_OUT = "forebay.left_out_bytes"
"""On a reply: bytes of the conversation that its window left out of the prompts, over all calls."""

REPLAY_COUNT = "replay.count"
REPLAY_OF = "replay.of"


def carried(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """The headers that are copied from a turn to its reply: W3C trace context and CloudEvents attributes."""
    return tuple(
        (name, value)
        for name, value in headers
        if name in (TRACEPARENT, TRACESTATE) or name.startswith(CLOUDEVENTS_PREFIX)
    )


def replayed(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a record is a dead letter that an operator sent again."""
    return any(name == REPLAY_OF for name, _ in headers)


def replay_count(headers: Iterable[tuple[str, bytes]]) -> int:
    """How often a record was replayed; 0 without a valid header."""
    counts = (value for name, value in headers if name == REPLAY_COUNT and value and value.isdigit())
    return int(next(counts, b"0")[:9])


def replay_headers(letter: Iterable[tuple[str, bytes]], letter_id: str) -> Headers:
    """The headers of a dead letter sent again: the original ones, how often it was replayed by now, and its place."""
    letter = tuple(letter)
    kept = [
        (name, value)
        for name, value in letter
        if not name.startswith(DLQ_PREFIX) and name not in (REPLAY_COUNT, REPLAY_OF)
    ]
    return (*kept, (REPLAY_COUNT, b"%d" % (replay_count(letter) + 1)), (REPLAY_OF, letter_id.encode()))
