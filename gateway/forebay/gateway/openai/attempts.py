"""Attempts: which requests of OpenAI's SDK are retries of an earlier one whose answer did not arrive.

The SDK retries by itself, and does not name the request. So the turn's id holds a digest of the request, and any gateway that
reads the requests finds the turn of the first attempt.
"""

from __future__ import annotations

import hashlib
import uuid

from aiohttp import web
from cachetools import FIFOCache

from forebay.gateway.stream.hub import Hub
from forebay.gateway.stream.record import ConversationRecord
from forebay.schemas import new_id

_MARK = (1 << 62) - 1
_RETRIED_WITHIN_S = 900.0
"""Most seconds between a turn and the last retry of its request: the SDKs wait ten minutes for an answer."""
_BACKOFF_S = 10.0
"""The SDKs wait 8 seconds at most before they retry what was cut off."""


def mark_of(conversation: str, body: bytes) -> int:
    """62 bits that tell one request of a conversation from another."""
    said = b"%d:%s:%s" % (len(conversation), conversation.encode(), body)
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest()) & _MARK


def marked_id(mark: int) -> str:
    """A new turn id, a UUIDv7 with the mark in its last bits, so that any gateway recognises a retry."""
    return str(uuid.UUID(int=uuid.UUID(new_id()).int & ~_MARK | mark))


def earlier_attempt(hub: Hub, conversation: str, mark: int, now: float) -> ConversationRecord | None:
    """The turn of an earlier attempt of this request, if its answer cannot have arrived. ``now``: epoch seconds.

    A client that retries has no reply yet: the reply came just now, or is still to come. The same words with an older reply
    are an older turn, whose answer arrived.
    """
    for record in reversed(hub.requests(conversation)):
        if record.turn_id is None or _mark_in(record.turn_id) != mark:
            continue
        reply = hub.reply(record.turn_id, conversation)
        recent = reply is None or now - reply.timestamp / 1000 <= _BACKOFF_S
        return record if recent and now - record.timestamp / 1000 <= _RETRIED_WITHIN_S else None
    return None


def is_retry(request: web.Request) -> bool:
    """Whether OpenAI's SDK sends this request again."""
    count = request.headers.get("x-stainless-retry-count", "")
    return count.isascii() and count.isdigit() and count.strip("0") != ""


class RefusedRequests:
    """Requests whose latest attempt was refused here: their retry has no turn yet, even if the same words had one before."""

    MOST = 10_000

    def __init__(self) -> None:
        self._requests: FIFOCache[tuple[str, int], bool] = FIFOCache(self.MOST)

    def add(self, conversation: str, mark: int) -> None:
        """Notes a refusal."""
        self._requests[conversation, mark] = True

    def take(self, conversation: str, mark: int) -> bool:
        """Whether it was refused; forgets it."""
        return self._requests.pop((conversation, mark), False)


def _mark_in(turn_id: str) -> int | None:
    try:
        known = uuid.UUID(turn_id)
    except ValueError:
        return None
    return known.int & _MARK if known.version == 7 else None
