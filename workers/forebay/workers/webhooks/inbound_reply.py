"""An inbound reply: a record of ``chat.replies`` as the engine carries it to a destination."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from aiokafka import ConsumerRecord

from forebay.schemas import DecodeError, Failure, Reason, Reply, Topics, Turn, decode_reply
from forebay.schemas import headers as names
from forebay.workers.engine.fairness import Origin
from forebay.workers.engine.inbound import InboundRecord, headers_and_size
from forebay.workers.engine.ledger import Ledger
from forebay.workers.engine.source import Source

_WEBHOOK_ID = re.compile(r"[!-~]{1,256}")
"""What a header takes: a receiver tells repeats by it."""


class InboundReply(InboundRecord):
    """One reply. It never expires unsent: its time to live only bounds its retries."""

    __slots__ = ()

    def deadline(self, turn_ttl_s: float, turn: Turn | None = None) -> float:
        """Never."""
        return math.inf

    def reply(self) -> Reply:
        """The reply. Raises DecodeError where `failure` is set."""
        return _decode(self.value)

    @property
    def tenant(self) -> str | None:
        """Of its turn."""
        return self.origin.tenant


def replies_of(topics: Topics) -> Source:
    """Replies, to be delivered."""
    return Source(topics.replies, inbound_reply, topics.reply_dead_letters)


def inbound_reply(record: ConsumerRecord, ledger: Ledger) -> InboundReply:
    """Reads what the engine needs of a record; one that cannot be decoded keeps its failure."""
    headers, size = headers_and_size(record)
    failure: Failure | None = None
    try:
        lane = _decode(record.value).conversation_id
    except DecodeError as error:
        failure = error.failure
        lane = f"{record.partition}-{record.offset}" if record.key is None else record.key.decode(errors="replace")
    return InboundReply(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        headers,
        failure,
        lane,
        Origin(_tenant(headers)),
        size,
        ledger,
    )


def _decode(value: bytes | None) -> Reply:
    reply = decode_reply(value)
    if not _WEBHOOK_ID.fullmatch(reply.reply_id):
        raise DecodeError(Reason.INVALID, "reply_id: must be 1 to 256 characters of ASCII without spaces")
    return reply


def _tenant(headers: Iterable[tuple[str, bytes]]) -> str | None:
    found = (value.decode(errors="replace") for name, value in headers if name == names.TENANT and value)
    return next(found, None)
