"""Server-Sent Events: what happens in a conversation, from where the client was, for as long as it listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

from aiohttp import web

from forebay.gateway import metrics
from forebay.gateway.stream.cursor import Cursor, CursorError
from forebay.gateway.stream.subscription import Subscription

from .access import Caller
from .context import Door
from .parsing import caller_of, conversation_of
from .problem import Problem

STUCK_S = 60.0
"""How long a client may take nothing before its connection is closed, in seconds."""
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather the words
}


async def events(request: web.Request) -> web.StreamResponse:
    """Streams until the client goes, its token expires or the gateway leaves."""
    door = Door.of(request)
    caller = caller_of(request, door.access)
    conversation = conversation_of(request, caller)
    cursor = cursor_of(request)
    async with subscribed(door, caller, conversation, cursor) as subscription:
        return await send(request, HEADERS, _frames(subscription, caller))


async def _frames(subscription: Subscription, caller: Caller) -> AsyncGenerator[bytes]:
    yield b"retry: 1000\n"
    while (told := await subscription.events()) and caller.expires_at > time.time():
        yield b"".join([event.sse() for event in told])


async def send(request: web.Request, headers: dict[str, str], pieces: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Streams the pieces as they come, for as long as the client takes them."""
    response = web.StreamResponse(headers=headers)
    try:
        async with aclosing(pieces):
            await response.prepare(request)
            async for piece in pieces:
                async with asyncio.timeout(STUCK_S):
                    await response.write(piece)
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    return response


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
    door: Door, caller: Caller, conversation: str, cursor: Cursor | None
) -> AsyncIterator[Subscription]:
    """A subscription that counts as one of the caller's connections. Raises Problem."""
    with connected(door, caller):
        subscription = await door.hub.subscribe(conversation, cursor)
        if cursor is not None:
            metrics.RESUMED.inc()
        try:
            yield subscription
        finally:
            door.hub.leave(subscription)
            if subscription.overrun:
                metrics.OVERRUN.inc()


@contextmanager
def connected(door: Door, caller: Caller) -> Iterator[None]:
    """Counts as one of the caller's connections. Raises Problem."""
    user = caller.user_id if not caller.server else None
    refusal = door.connections.enter(user)
    if refusal is not None:
        raise Problem(429, f"{refusal.whose} has too many connections open", retry_after_s=refusal.retry_after_s)
    try:
        yield
    finally:
        door.connections.leave(user)
