"""The events of a conversation as Server-Sent Events, from where the client was."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from forebay.gateway import metrics
from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.event_stream import HEADERS, send
from forebay.gateway.http.parsing import caller_of, conversation_of
from forebay.gateway.http.problem import Problem
from forebay.gateway.stream.cursor import Cursor, CursorError
from forebay.gateway.stream.subscription import Subscription


async def events(request: web.Request) -> web.StreamResponse:
    """Streams until the client leaves, its token expires or the gateway stops."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    conversation = conversation_of(request, caller)
    cursor = cursor_of(request)
    async with subscribed(context, caller, conversation, cursor) as subscription:
        return await send(request, HEADERS, _frames(subscription, caller))


async def _frames(subscription: Subscription, caller: Caller) -> AsyncGenerator[bytes]:
    yield b"retry: 1000\n"
    while (told := await subscription.events()) and caller.expires_at > time.time():
        yield b"".join([event.sse() for event in told])


def cursor_of(request: web.Request) -> Cursor | None:
    """Where the client was: its `Last-Event-ID`, or `?last_event_id=`. Raises Problem."""
    written = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    if not written:
        return None
    try:
        return Cursor.parse(written)
    except CursorError as error:
        raise Problem(400, str(error)) from None


@asynccontextmanager
async def subscribed(
    context: GatewayContext, caller: Caller, conversation: str, cursor: Cursor | None
) -> AsyncIterator[Subscription]:
    """A subscription that counts as one of the caller's connections. Raises Problem."""
    with context.connected(caller):
        subscription = await context.hub.subscribe(conversation, cursor)
        if cursor is not None:
            metrics.RESUMED.inc()
        try:
            yield subscription
        finally:
            context.hub.leave(subscription)
            if subscription.overrun:
                metrics.OVERRUN.inc()
