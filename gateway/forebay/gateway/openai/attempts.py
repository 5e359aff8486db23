"""Attempts: which requests of OpenAI's SDK are the same one, sent again because its answer did not arrive.

The SDK retries by itself, with nothing that names the request. So the turn's id carries what was asked, and any gateway that
reads the requests finds the turn of the first attempt.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict

from aiohttp import web

from forebay.gateway.stream.hub import Hub
from forebay.gateway.stream.record import Record, Stream
from forebay.schemas import new_id

_MARK = (1 << 62) - 1
_RETRIED_WITHIN_S = 900.0
"""Between a turn and the last retry of its request: the SDKs wait ten minutes for an answer."""
_BACKOFF_S = 10.0
"""The SDKs wait 8 seconds at most before they retry what was cut off."""


def mark_of(conversation: str, body: bytes) -> int:
    """62 bits that tell one request of a conversation from another."""
    said = b"%d:%s:%s" % (len(conversation), conversation.encode(), body)
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest()) & _MARK


def marked_id(mark: int) -> str:
    """A new turn id, a UUIDv7, whose last bits say what was asked: so that any gateway knows a retry of it."""
    return str(uuid.UUID(int=uuid.UUID(new_id()).int & ~_MARK | mark))


def earlier_attempt(hub: Hub, conversation: str, mark: int, now: float) -> Record | None:
    """The turn of this same request when it was sent before and its answer cannot have arrived. ``now``: epoch seconds.

    A client is cut off, or gives up, before it has the reply: so that came just now, or is still to come. The same words
    with an older reply are an older turn, whose answer arrived.
    """
    replies = hub.tail.recent[Stream.REPLIES]
    for record in reversed(hub.tail.recent[Stream.REQUESTS].of(conversation.encode())):
        if record.turn_id is None or _mark_in(record.turn_id) != mark:
            continue
        reply = replies.of_turn(record.turn_id, record.conversation)
        recent = reply is None or now - reply.timestamp / 1000 <= _BACKOFF_S
        return record if recent and now - record.timestamp / 1000 <= _RETRIED_WITHIN_S else None
    return None


def is_retry(request: web.Request) -> bool:
    """Whether OpenAI's SDK sends this request again."""
    count = request.headers.get("x-stainless-retry-count", "")
    return count.isascii() and count.isdigit() and count.strip("0") != ""


class Refused:
    """Requests whose latest attempt was refused here: their retry is no turn yet, even where the same words were one."""

    MOST = 10_000

    def __init__(self) -> None:
        self._requests: OrderedDict[tuple[str, int], None] = OrderedDict()

    def add(self, conversation: str, mark: int) -> None:
        """It was refused."""
        self._requests[conversation, mark] = None
        if len(self._requests) > self.MOST:
            self._requests.popitem(last=False)

    def take(self, conversation: str, mark: int) -> bool:
        """Whether it was; forgotten now."""
        return self._requests.pop((conversation, mark), self) is None


def _mark_in(turn_id: str) -> int | None:
    try:
        known = uuid.UUID(turn_id)
    except ValueError:
        return None
    return known.int & _MARK if known.version == 7 else None
