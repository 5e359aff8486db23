"""Takes a turn back over HTTP, and says how it ended if that is known soon."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.messages import json_response
from forebay.gateway.http.parsing import caller_of, checked_id, conversation_of
from forebay.gateway.stream.record import fields_of
from forebay.gateway.stream.subscription import Subscription

from .finding import searched_reply

SETTLED_S = 2.0
"""How long a request waits for the turn's reply, in seconds."""
_REPLAYED = ("failed", "expired")
"""Outcomes after which a turn may run once more, as a replayed dead letter."""


async def post_cancel(request: web.Request) -> web.Response:
    """200 with the turn's reply when it is settled soon, else 202. A turn that is not known here may still come."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    conversation = conversation_of(request, caller)
    turn_id = checked_id(request.match_info["turn_id"], "the turn's id")
    reply = await cancelled(context, caller, conversation, turn_id)
    told = {"turn_id": turn_id, "conversation_id": conversation}
    if reply is None:
        return json_response({**told, "status": "cancelling"}, 202)
    return json_response({**told, "status": "done", "reply": reply})


async def cancelled(
    context: GatewayContext, caller: Caller, conversation: str, turn_id: str, patience_s: float = SETTLED_S
) -> dict[str, Any] | None:
    """Takes the turn back; its reply, whatever it is, if it is known within ``patience_s``. Raises Problem, ClusterError."""
    known = context.hub.reply(turn_id, conversation)
    before = fields_of(known) if known is not None else None
    if before and before.get("outcome") not in _REPLAYED:
        return before
    sent = any(record.conversation == conversation.encode() for record in context.hub.records(turn_id))
    subscription = await context.hub.subscribe(conversation, context.hub.entry(conversation).cursor)
    try:
        await context.publisher.cancel(conversation, turn_id, caller)
        async with asyncio.timeout(patience_s):
            if not sent and (earlier := await searched_reply(context, turn_id, conversation)):
                return earlier
            return await _reply(subscription, turn_id)
    except TimeoutError:
        return before
    finally:
        context.hub.leave(subscription)


async def _reply(subscription: Subscription, turn_id: str) -> dict[str, Any] | None:
    while events := await subscription.events():
        for event in events:
            if event.name == "done" and event.data["turn_id"] == turn_id:
                reply: dict[str, Any] = event.data["reply"]
                return reply
    return None  # the gateway leaves
