"""Finds a turn by its id: in this gateway's memory, else in Kafka."""

from __future__ import annotations

import time
from typing import Any

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.stream.record import ConversationRecord, Stream, fields_of
from forebay.schemas.turn import made_at

_LOOKED_BACK_S = 900.0
"""How far back a turn is searched whose id has no time in it (as a UUIDv7 has), in seconds."""
_ANSWERED_WITHIN_S = 600.0


def recent(
    context: GatewayContext, caller: Caller, turn_id: str, conversation: str | None
) -> ConversationRecord | None:
    """The reply, else the request, in the conversation that was named or in one that the caller may open."""
    for record in context.hub.records(turn_id):
        name = record.conversation.decode(errors="replace")
        if caller.may_open(name) and conversation in (None, name):
            return record
    return None


async def searched(context: GatewayContext, turn_id: str, conversation: str) -> ConversationRecord | None:
    """The reply, else the request, from Kafka, around the time when the turn was sent. Raises ClusterError."""
    for stream in (Stream.REPLIES, Stream.REQUESTS):
        if (found := await _searched(context, stream, turn_id, conversation)) is not None:
            return found
    return None


async def searched_reply(context: GatewayContext, turn_id: str, conversation: str) -> dict[str, Any] | None:
    """Fields of the turn's reply from Kafka. Raises ClusterError."""
    found = await _searched(context, Stream.REPLIES, turn_id, conversation)
    return None if found is None else fields_of(found) or None


async def _searched(
    context: GatewayContext, stream: Stream, turn_id: str, conversation: str
) -> ConversationRecord | None:
    sent = made_at(turn_id)
    since, until = (time.time() - _LOOKED_BACK_S, time.time()) if sent is None else (sent, sent + _ANSWERED_WITHIN_S)
    records = await context.hub.between(stream, conversation, since - 1.0, until + 1.0)
    return next((record for record in records if record.turn_id == turn_id), None)
