"""The events of one turn up to its answer, for the APIs that answer a turn in one response.

Who waits for a turn that was merged into a later one gets both replies: its own, and the other's with the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.problem import Problem
from forebay.gateway.stream.event import ConversationEvent
from forebay.gateway.stream.hub import Hub
from forebay.gateway.stream.record import ConversationRecord, fields_of
from forebay.gateway.stream.subscription import Subscription
from forebay.schemas import DecodeError, decode_reply

from .underway import Underway


@asynccontextmanager
async def following(context: GatewayContext, turn: Underway) -> AsyncIterator[AsyncIterator[ConversationEvent]]:
    """Yields the turn's events and the heartbeats; the last event is a `done` with the answer. Raises ClusterError.

    The events raise Problem when no reply comes.
    """
    subscription = await context.hub.subscribe(turn.conversation_id, turn.cursor)
    try:
        # No wait since the subscription began: a reply is either kept here already, or will be told.
        kept = [] if turn.cursor is not None else kept_replies(context.hub, turn.turn_id, turn.conversation_id)
        yield _events(context.hub, subscription, turn, kept)
    finally:
        context.hub.leave(subscription)


def is_answer(event: ConversationEvent) -> bool:
    """Whether it is the last: a reply, and not one that names another turn for its answer."""
    return event.name == "done" and _merged_into(event.data["reply"]) is None


def kept_replies(hub: Hub, turn_id: str, conversation: str) -> list[ConversationRecord]:
    """The turn's reply, then, of a merged one, that of the turn it was merged into, as far as they are kept here."""
    found: list[ConversationRecord] = []
    following: str | None = turn_id
    while following is not None and (record := hub.reply(following, conversation)) not in (None, *found):
        assert record is not None
        found.append(record)
        following = _merged_into(fields_of(record))
    return found


async def _events(
    hub: Hub, subscription: Subscription, turn: Underway, kept: list[ConversationRecord]
) -> AsyncIterator[ConversationEvent]:
    until = asyncio.get_running_loop().time() + turn.until - time.time()
    turn_id: str | None = turn.turn_id
    for record in kept:
        yield (event := _done(record))
        turn_id = _merged_into(event.data["reply"])
    while turn_id is not None:
        for event in await _next(subscription, turn, until):
            if event.name != "heartbeat" and event.data.get("turn_id") != turn_id:
                continue
            yield event
            if event.name != "done":
                continue
            turn_id = _merged_into(event.data["reply"])
            # A reply that was published again may come behind that of the turn it was merged into.
            for record in kept_replies(hub, turn_id, turn.conversation_id) if turn_id is not None else ():
                yield (last := _done(record))
                turn_id = _merged_into(last.data["reply"])
            if turn_id is None:
                return


async def _next(subscription: Subscription, turn: Underway, until: float) -> list[ConversationEvent]:
    try:
        async with asyncio.timeout_at(until):
            told = await subscription.events()
    except TimeoutError:
        raise Problem(504, "no reply came in time", code="timeout", turn_id=turn.turn_id) from None
    if not told:
        raise Problem(
            503, "this gateway is leaving; the turn goes on", code="leaving", retry_after_s=1.0, turn_id=turn.turn_id
        )
    return told


def _done(record: ConversationRecord) -> ConversationEvent:
    try:
        reply = decode_reply(record.value).model_dump(mode="json")
    except DecodeError as error:
        raise Problem(502, f"the reply of this turn cannot be read: {error}", turn_id=record.turn_id) from None
    return ConversationEvent("done", {"turn_id": record.turn_id, "reply": reply})


def _merged_into(reply: dict[str, Any]) -> str | None:
    into = reply.get("merged_into") if reply.get("outcome") == "merged" else None
    return into if isinstance(into, str) else None
