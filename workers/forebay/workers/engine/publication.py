"""A publication: what is published for one record, once its handler is done with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from forebay.schemas import Failure, Headers, Outcome, Topics, carried, dead_letter_headers

from .inbound import InboundRecord
from .outbox import OutboundRecord

_CARRIED_BYTES = 16 * 1024
"""Headers larger than this in all are not carried to a reply, which must fit its topic."""


class Publication(NamedTuple):
    """A reply, for a failed turn the reason of its dead letter, for a person the transcript."""

    reply: bytes | None
    """None when nobody is told: the record has no readable identity, or is no turn."""
    failure: Failure | None
    conversation_id: str
    """Key of the reply."""
    outcome: Outcome | None
    """How a turn ended; None for a record that is no turn."""
    handoff: bytes | None = None
    headers: Headers = ()
    """Of the reply."""


def outbound_records(
    inbound: InboundRecord,
    publication: Publication,
    topics: Topics,
    dead_letters: str,
    worker_id: str,
    now: Callable[[], datetime],
) -> list[OutboundRecord]:
    """The records that a publication consists of.

    ``dead_letters`` is the topic of a failed one, ``now`` is asked when one is a dead letter, and is aware of its zone.
    """
    records: list[OutboundRecord] = []
    key = publication.conversation_id.encode()
    if publication.failure is not None:
        records.append(_dead_letter(inbound, publication.failure, dead_letters, worker_id, now()))
    if publication.reply is not None:
        headers = _carried(inbound) + publication.headers
        records.append(OutboundRecord(topics.replies, key, publication.reply, headers))
    if publication.handoff is not None:
        records.append(OutboundRecord(topics.handoffs, key, publication.handoff))
    return records


def _carried(inbound: InboundRecord) -> Headers:
    if not inbound.headers:
        return ()
    headers = carried(inbound.headers)
    return headers if sum(len(value) for _, value in headers) <= _CARRIED_BYTES else ()


def _dead_letter(inbound: InboundRecord, failure: Failure, topic: str, worker_id: str, now: datetime) -> OutboundRecord:
    headers = dead_letter_headers(
        inbound.headers,
        failure,
        topic=inbound.topic,
        partition=inbound.partition,
        offset=inbound.offset,
        timestamp=inbound.timestamp,
        failed_at=now,
        worker=worker_id,
    )
    return OutboundRecord(topic, inbound.key, inbound.value, headers)
