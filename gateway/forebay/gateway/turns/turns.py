"""Turns over HTTP: send one, confirm an action, ask for the state of one."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import quote

from aiohttp import web

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.messages import ConfirmIn, TurnIn, json_response
from forebay.gateway.http.parsing import (
    body_of,
    caller_of,
    carried_headers,
    checked_id,
    conversation_of,
    parse,
    turn_of,
    wait_of,
)
from forebay.gateway.http.problem import Problem
from forebay.gateway.http.submission import Accepted
from forebay.gateway.stream.record import ConversationRecord, Stream, fields_of
from forebay.schemas import DecodeError, decode_reply
from forebay.schemas.turn import made_at

_LOOKED_BACK_S = 900.0
"""How far back a turn is searched whose id has no time in it (as a UUIDv7 has), in seconds."""
_ANSWERED_WITHIN_S = 600.0


async def post_turn(request: web.Request) -> web.Response:
    """202 with the turn's id, or 200 with its reply when that came within `wait`."""
    return await _post(request, TurnIn)


async def post_confirm(request: web.Request) -> web.Response:
    """The same for the user's answer to a pending action."""
    return await _post(request, ConfirmIn)


async def _post(request: web.Request, kind: type[TurnIn] | type[ConfirmIn]) -> web.Response:
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    conversation = conversation_of(request, caller)
    sent = parse(kind, await body_of(request, context.settings.gateway_body_s))
    turn = turn_of(sent, caller, conversation, request.headers.get("Idempotency-Key"))
    wait_s = wait_of(request, sent.wait)
    accepted = await context.submission.submit(turn, carried_headers(request))
    reply = await _reply(context, accepted, wait_s)
    told = {"turn_id": turn.turn_id, "conversation_id": conversation, "event_id": str(accepted.cursor)}
    if reply is not None:
        return json_response({**told, "status": "done", "reply": reply})
    place = context.hub.place(accepted.request)
    waiting = {**told, "status": "queued", "stream": accepted.turn.stream, "place": place}
    return json_response(waiting, 202, {"Location": f"/v1/turns/{quote(turn.turn_id, safe='')}"})


async def _reply(context: GatewayContext, accepted: Accepted, wait_s: float) -> dict[str, Any] | None:
    """The turn's final reply, if it is known already or comes within ``wait_s``; else None."""
    turn = accepted.turn
    known = context.hub.reply(turn.turn_id, turn.conversation_id)
    if known is not None and (fields := fields_of(known)):
        return fields
    if not wait_s:
        return None
    subscription = await context.hub.subscribe(turn.conversation_id, accepted.cursor)
    try:
        async with asyncio.timeout(wait_s):
            while events := await subscription.events():
                for event in events:
                    if event.name == "done" and event.data["turn_id"] == turn.turn_id:
                        reply: dict[str, Any] = event.data["reply"]
                        return reply
    except TimeoutError:
        return None  # the turn goes on: its reply will be on the topic
    finally:
        context.hub.leave(subscription)
    return None  # the gateway leaves


async def get_turn(request: web.Request) -> web.Response:
    """State of a turn. A turn that the caller may not see is not found."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    turn_id = checked_id(request.match_info["turn_id"], "the turn's id")
    conversation = request.query.get("conversation_id")
    if conversation is not None:
        checked_id(conversation, "conversation_id")
    elif not caller.server and len(caller.conversations) == 1 and not caller.conversations[0].endswith("*"):
        conversation = caller.conversations[0]
    found = _recent(context, caller, turn_id, conversation)
    if found is None and conversation is not None and caller.may_open(conversation):
        found = await _searched(context, turn_id, conversation)
    if found is None or not caller.may_open(found.conversation.decode(errors="replace")):
        raise Problem(
            404, "no such turn is known here: give ?conversation_id= for one that is older than a few minutes"
        )
    return json_response(_stands(context, turn_id, found))


def _recent(
    context: GatewayContext, caller: Caller, turn_id: str, conversation: str | None
) -> ConversationRecord | None:
    """The reply, else the request, in the conversation that was named or in one that the caller may open."""
    for record in context.hub.records(turn_id):
        name = record.conversation.decode(errors="replace")
        if caller.may_open(name) and conversation in (None, name):
            return record
    return None


async def _searched(context: GatewayContext, turn_id: str, conversation: str) -> ConversationRecord | None:
    """The same from Kafka, around the time when the turn was sent."""
    sent = made_at(turn_id)
    since, until = (time.time() - _LOOKED_BACK_S, time.time()) if sent is None else (sent, sent + _ANSWERED_WITHIN_S)
    for stream in (Stream.REPLIES, Stream.REQUESTS):
        records = await context.hub.between(stream, conversation, since - 1.0, until + 1.0)
        if found := [record for record in records if record.turn_id == turn_id]:
            return found[0]
    return None


def _stands(context: GatewayContext, turn_id: str, found: ConversationRecord) -> dict[str, Any]:
    told = {"turn_id": turn_id, "conversation_id": found.conversation.decode(errors="replace")}
    if found.stream is Stream.REPLIES:
        try:
            return {**told, "status": "done", "reply": decode_reply(found.value).model_dump(mode="json")}
        except DecodeError as error:
            raise Problem(404, f"the reply of this turn cannot be read: {error}") from None
    if context.hub.has_begun(found):
        return {**told, "status": "started"}
    return {**told, "status": "queued", "place": context.hub.place(found)}
