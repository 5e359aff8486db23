"""Turns over HTTP: send one, confirm an action, ask for the state of one."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import quote

from aiohttp import web

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

from .finding import recent, searched
from .following import following, kept_replies
from .leaving import staying, takes_back
from .underway import GRACE_S, Underway


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
    with staying(request, turn, caller, takes_back=takes_back(request, sent.on_disconnect) and wait_s > 0):
        accepted = await context.submission.submit(turn, carried_headers(request))
        replies = await _replies(context, accepted, wait_s)
    told = {"turn_id": turn.turn_id, "conversation_id": conversation, "event_id": str(accepted.cursor)}
    if replies:
        return json_response({**told, **_done(replies)})
    place = context.hub.place(accepted.request)
    waiting = {**told, "status": "queued", "stream": accepted.turn.stream, "place": place}
    return json_response(waiting, 202, {"Location": f"/v1/turns/{quote(turn.turn_id, safe='')}"})


async def _replies(context: GatewayContext, accepted: Accepted, wait_s: float) -> list[dict[str, Any]]:
    """The turn's final reply, and that of the turn it was merged into: what is known already or comes within ``wait_s``."""
    turn = accepted.turn
    known = kept_replies(context.hub, turn.turn_id, turn.conversation_id)
    replies = [fields for record in known if (fields := fields_of(record))]
    if replies or not wait_s:
        return replies
    underway = Underway(turn.conversation_id, turn.turn_id, time.time() + wait_s + GRACE_S, accepted.cursor)
    try:
        async with asyncio.timeout(wait_s), following(context, underway) as events:
            replies.extend([event.data["reply"] async for event in events if event.name == "done"])
    except (TimeoutError, Problem):
        return replies  # the turn goes on, or this gateway leaves: its reply will be on the topic
    return replies


def _done(replies: list[dict[str, Any]]) -> dict[str, Any]:
    """What is told of a turn with its reply; of a merged one the answer too, once it is known."""
    told = {"status": "done", "reply": replies[0]}
    return {**told, "answer": replies[-1]} if len(replies) > 1 else told


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
    found = recent(context, caller, turn_id, conversation)
    if found is None and conversation is not None and caller.may_open(conversation):
        found = await searched(context, turn_id, conversation)
    if found is None or not caller.may_open(found.conversation.decode(errors="replace")):
        raise Problem(
            404, "no such turn is known here: give ?conversation_id= for one that is older than a few minutes"
        )
    return json_response(_stands(context, turn_id, found))


def _stands(context: GatewayContext, turn_id: str, found: ConversationRecord) -> dict[str, Any]:
    told = {"turn_id": turn_id, "conversation_id": found.conversation.decode(errors="replace")}
    if found.stream is Stream.REPLIES:
        try:
            known = [found, *kept_replies(context.hub, turn_id, told["conversation_id"])[1:]]
            return {**told, **_done([decode_reply(record.value).model_dump(mode="json") for record in known])}
        except DecodeError as error:
            raise Problem(404, f"the reply of this turn cannot be read: {error}") from None
    if context.hub.has_begun(found):
        return {**told, "status": "started"}
    return {**told, "status": "queued", "place": context.hub.place(found)}
