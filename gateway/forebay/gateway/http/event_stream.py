"""Server-Sent Events: how a response is streamed, and what its messages look like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from aiohttp import web

STUCK_S = 60.0
"""How long a client may take nothing before its connection is closed, in seconds."""
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather the words
}
HEARTBEAT = b": heartbeat\n\n"


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


def data(fields: object) -> bytes:
    """One message without a name."""
    return b"data: " + orjson.dumps(fields) + b"\n\n"
