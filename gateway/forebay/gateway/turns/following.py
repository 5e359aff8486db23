"""Following: one turn's events up to its final reply, for the APIs that answer a turn in one response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from forebay.gateway.http.context import Door
from forebay.gateway.http.problem import Problem
from forebay.gateway.http.submission import Accepted
from forebay.gateway.stream.cursor import Cursor
from forebay.gateway.stream.event import Event
from forebay.gateway.stream.record import Record, Stream
from forebay.gateway.stream.subscription import Subscription
from forebay.schemas import DecodeError, decode_reply

GRACE_S = 30.0
"""What a turn that begins just before its deadline may take for its answer, in seconds."""
HEARTBEAT = b": heartbeat\n\n"


@dataclass(frozen=True, slots=True)
class Underway:
    """A turn that Kafka has."""

    conversation_id: str
    turn_id: str
    until: float
    """When its reply is waited for no longer, in seconds since the epoch."""
    cursor: Cursor | None = None
    """A reader that begins here misses nothing of it; None of one that was accepted elsewhere."""

    @classmethod
    def of(cls, accepted: Accepted, ttl_s: float) -> Underway:
        """One that was accepted here."""
        turn = accepted.turn
        assert turn.sent_at is not None
        deadline = turn.expires_at.timestamp() if turn.expires_at is not None else turn.sent_at.timestamp() + ttl_s
        return cls(turn.conversation_id, turn.turn_id, deadline + GRACE_S, accepted.cursor)

    @classmethod
    def found(cls, request: Record, conversation: str, ttl_s: float) -> Underway:
        """One whose record was found on the topic."""
        assert request.turn_id is not None
        return cls(conversation, request.turn_id, request.timestamp / 1000 + ttl_s + GRACE_S)


@asynccontextmanager
async def following(door: Door, turn: Underway) -> AsyncIterator[AsyncIterator[Event]]:
    """The turn's events and the heartbeats; the last event is `done`. Raises ClusterError.

    The events raise Problem when no reply comes.
    """
    subscription = await door.hub.subscribe(turn.conversation_id, turn.cursor)
    try:
        # No wait since the subscription began: a reply is either kept here already, or will be told.
        replies, key = door.hub.tail.recent[Stream.REPLIES], turn.conversation_id.encode()
        reply = None if turn.cursor is not None else replies.of_turn(turn.turn_id, key)
        yield _events(subscription, turn) if reply is None else _at_once(reply)
    finally:
        door.hub.leave(subscription)


async def _events(subscription: Subscription, turn: Underway) -> AsyncIterator[Event]:
    until = asyncio.get_running_loop().time() + turn.until - time.time()
    while True:
        try:
            async with asyncio.timeout_at(until):
                told = await subscription.events()
        except TimeoutError:
            raise Problem(504, "no reply came in time", code="timeout", turn_id=turn.turn_id) from None
        if not told:
            raise Problem(
                503,
                "this gateway is leaving; the turn goes on",
                code="leaving",
                retry_after_s=1.0,
                turn_id=turn.turn_id,
            )
        for event in told:
            if event.name == "heartbeat" or event.data.get("turn_id") == turn.turn_id:
                yield event
                if event.name == "done":
                    return


async def _at_once(record: Record) -> AsyncIterator[Event]:
    try:
        reply = decode_reply(record.value).model_dump(mode="json")
    except DecodeError as error:
        raise Problem(502, f"the reply of this turn cannot be read: {error}", turn_id=record.turn_id) from None
    yield Event("done", {"turn_id": record.turn_id, "reply": reply})


def data(fields: object) -> bytes:
    """One message of an event stream."""
    return b"data: " + orjson.dumps(fields) + b"\n\n"
