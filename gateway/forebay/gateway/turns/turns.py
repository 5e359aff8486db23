"""Turns over HTTP: one in, the user's word on an action, and how a turn stands."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import Door
from forebay.gateway.http.messages import ConfirmIn, TurnIn, parse
from forebay.gateway.http.parsing import (
    body_of,
    caller_of,
    carried_headers,
    checked_id,
    conversation_of,
    turn_of,
    wait_of,
)
from forebay.gateway.http.problem import Problem
from forebay.gateway.http.submission import Accepted
from forebay.gateway.stream.place import as_json
from forebay.gateway.stream.record import Record, Stream, fields_of
from forebay.schemas import DecodeError, Turn, decode_reply

_LOOKED_BACK_S = 900.0
"""How far back a turn is searched whose id does not tell its time (as a UUIDv7 does), in seconds."""
_ANSWERED_WITHIN_S = 600.0


async def post_turn(request: web.Request) -> web.Response:
    """202 with the turn's id, or 200 with its reply when that came within `wait`."""
    return await _post(request, TurnIn)


async def post_confirm(request: web.Request) -> web.Response:
    """The same for the user's word on a pending action."""
    return await _post(request, ConfirmIn)


async def _post(request: web.Request, kind: type[TurnIn] | type[ConfirmIn]) -> web.Response:
    door = Door.of(request)
    caller = caller_of(request, door.access)
    conversation = conversation_of(request, caller)
    sent = parse(kind, await body_of(request, door.settings.gateway_body_s))
    turn = turn_of(sent, caller, conversation, request.headers.get("Idempotency-Key"))
    wait_s = wait_of(request, sent.wait)
    accepted = await door.acceptance.accept(turn, carried_headers(request))
    reply = known_reply(door, accepted) or (await reply_within(door, accepted, wait_s) if wait_s else None)
    location = {"Location": f"/v1/turns/{in_path(turn.turn_id)}"}
    if reply is not None:
        return json_response({**_told(turn, "done"), "event_id": str(accepted.cursor), "reply": reply})
    told = {
        **_told(turn, "queued"),
        "stream": accepted.turn.stream,
        "place": as_json(door.acceptance.place(accepted.request)),
        "event_id": str(accepted.cursor),
    }
    return json_response(told, 202, location)


def known_reply(door: Door, accepted: Accepted) -> dict[str, Any] | None:
    """Of a turn that was sent again and is done."""
    turn = accepted.turn
    record = door.hub.tail.recent[Stream.REPLIES].of_turn(turn.turn_id, turn.conversation_id.encode())
    return fields_of(record) or None if record is not None else None


async def reply_within(door: Door, accepted: Accepted, wait_s: float) -> dict[str, Any] | None:
    """The turn's final reply, or None when it did not come in time."""
    subscription = await door.hub.subscribe(accepted.turn.conversation_id, accepted.cursor)
    try:
        async with asyncio.timeout(wait_s):
            while events := await subscription.events():
                for event in events:
                    if event.name == "done" and event.data["turn_id"] == accepted.turn.turn_id:
                        reply: dict[str, Any] = event.data["reply"]
                        return reply
    except TimeoutError:
        return None  # the turn goes on: its reply will be on the topic
    finally:
        door.hub.leave(subscription)
    return None  # the gateway leaves


async def get_turn(request: web.Request) -> web.Response:
    """How a turn stands. A turn of somebody else is as unknown as one that never was."""
    door = Door.of(request)
    caller = caller_of(request, door.access)
    turn_id = checked_id(request.match_info["turn_id"], "the turn's id")
    conversation = request.query.get("conversation_id")
    if conversation is not None:
        checked_id(conversation, "conversation_id")
    elif not caller.server and len(caller.conversations) == 1 and not caller.conversations[0].endswith("*"):
        conversation = caller.conversations[0]
    found = _recent(door, caller, turn_id, conversation)
    if found is None and conversation is not None and caller.may_open(conversation):
        found = await _searched(door, turn_id, conversation)
    if found is None or not caller.may_open(found.conversation.decode(errors="replace")):
        raise Problem(
            404, "no such turn is known here: give ?conversation_id= for one that is older than a few minutes"
        )
    return json_response(_stands(door, turn_id, found))


def _recent(door: Door, caller: Caller, turn_id: str, conversation: str | None) -> Record | None:
    """The reply, or else the turn itself, of the conversation that was named or of one that the caller may open."""
    recent = door.hub.tail.recent
    for stream in (Stream.REPLIES, Stream.REQUESTS):
        for record in recent[stream].of_turns(turn_id):
            name = record.conversation.decode(errors="replace")
            if caller.may_open(name) and conversation in (None, name):
                return record
    return None


async def _searched(door: Door, turn_id: str, conversation: str) -> Record | None:
    """In Kafka, around the time when the turn was sent."""
    sent = sent_at(turn_id)
    since, until = (time.time() - _LOOKED_BACK_S, time.time()) if sent is None else (sent, sent + _ANSWERED_WITHIN_S)
    for stream in (Stream.REPLIES, Stream.REQUESTS):
        records = await door.hub.between(stream, conversation, since - 1.0, until + 1.0)
        if found := [record for record in records if record.turn_id == turn_id]:
            return found[0]
    return None


def _stands(door: Door, turn_id: str, found: Record) -> dict[str, Any]:
    told = {"turn_id": turn_id, "conversation_id": found.conversation.decode(errors="replace")}
    if found.stream is Stream.REPLIES:
        try:
            return {**told, "status": "done", "reply": decode_reply(found.value).model_dump(mode="json")}
        except DecodeError as error:
            raise Problem(404, f"the reply of this turn cannot be read: {error}") from None
    if door.hub.has_begun(found):
        return {**told, "status": "started"}
    return {**told, "status": "queued", "place": as_json(door.acceptance.place(found))}


def sent_at(turn_id: str) -> float | None:
    """When a UUIDv7 was made, in seconds since the epoch; None of other ids."""
    try:
        known = uuid.UUID(turn_id)
    except ValueError:
        return None
    return (known.int >> 80) / 1000 if known.version == 7 else None


def in_path(text: str) -> str:
    """As it stands in a path."""
    return quote(text, safe="")


def json_response(data: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON body."""
    return web.Response(status=status, body=orjson.dumps(data), content_type="application/json", headers=headers)


def _told(turn: Turn, status: str) -> dict[str, Any]:
    return {"turn_id": turn.turn_id, "conversation_id": turn.conversation_id, "status": status}
