"""The events of one turn up to its final reply, for the APIs that answer a turn in one response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.problem import Problem
from forebay.gateway.stream.event import ConversationEvent
from forebay.gateway.stream.record import ConversationRecord
from forebay.gateway.stream.subscription import Subscription
from forebay.schemas import DecodeError, decode_reply

from .underway import Underway


@asynccontextmanager
async def following(context: GatewayContext, turn: Underway) -> AsyncIterator[AsyncIterator[ConversationEvent]]:
    """Yields the turn's events and the heartbeats; the last event is `done`. Raises ClusterError.

    The events raise Problem when no reply comes.
    """
    subscription = await context.hub.subscribe(turn.conversation_id, turn.cursor)
    try:
        # No wait since the subscription began: a reply is either kept here already, or will be told.
        reply = None if turn.cursor is not None else context.hub.reply(turn.turn_id, turn.conversation_id)
        yield _events(subscription, turn) if reply is None else _at_once(reply)
    finally:
        context.hub.leave(subscription)


async def _events(subscription: Subscription, turn: Underway) -> AsyncIterator[ConversationEvent]:
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


async def _at_once(record: ConversationRecord) -> AsyncIterator[ConversationEvent]:
    try:
        reply = decode_reply(record.value).model_dump(mode="json")
    except DecodeError as error:
        raise Problem(502, f"the reply of this turn cannot be read: {error}", turn_id=record.turn_id) from None
    yield ConversationEvent("done", {"turn_id": record.turn_id, "reply": reply})
