"""The live stream: one snapshot a second, the same bytes for every open console."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from forebay.gateway.console.admin import admin_of
from forebay.gateway.console.console import Console
from forebay.gateway.console.page import find_plotly
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.event_stream import HEADERS, STUCK_S
from forebay.gateway.http.problem import Problem

MOST_CONSOLES = 100


async def whoami(request: web.Request) -> web.Response:
    """Name of the caller, and the settings of this gateway that the page needs."""
    caller, context = admin_of(request), GatewayContext.of(request)
    topics = context.cluster.topics
    return web.json_response(
        {
            "name": caller.name,
            "open": context.settings.gateway_open,
            "group": context.settings.group,
            "turn_ttl_s": context.settings.turn_ttl_s,
            "plots": await asyncio.to_thread(find_plotly) is not None,
            "topics": {"requests": topics.requests, "dead_letters": topics.dead_letters, "commands": topics.commands},
        }
    )


async def live(request: web.Request) -> web.StreamResponse:
    """Streams until the page is closed, its token expires or the gateway stops."""
    caller, sampler = admin_of(request), Console.of(request).sampler
    if sampler.consoles >= MOST_CONSOLES:
        raise Problem(429, f"{MOST_CONSOLES} consoles are open at this gateway", retry_after_s=5.0)
    sampler.consoles += 1
    try:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        frame: bytes | None = b"retry: 1000\n" + sampler.opening()
        while frame is not None and caller.expires_at > time.time():
            async with asyncio.timeout(STUCK_S):
                await response.write(frame)
            frame = await sampler.next()
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    finally:
        sampler.consoles -= 1
    return response
