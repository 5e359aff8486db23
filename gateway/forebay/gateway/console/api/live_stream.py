"""The live stream: a snapshot a second, the same bytes to every open console."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from forebay.gateway.console.admin import admin_of
from forebay.gateway.console.console import Console
from forebay.gateway.console.page import find_plotly
from forebay.gateway.http.context import Door
from forebay.gateway.http.event_stream import HEADERS, STUCK_S
from forebay.gateway.http.problem import Problem

MOST_CONSOLES = 100


async def whoami(request: web.Request) -> web.Response:
    """Who the page speaks for, and what it has to know of this gateway."""
    caller, door = admin_of(request), Door.of(request)
    topics = door.cluster.topics
    return web.json_response(
        {
            "name": caller.name,
            "open": door.settings.gateway_open,
            "group": door.settings.group,
            "turn_ttl_s": door.settings.turn_ttl_s,
            "plots": await asyncio.to_thread(find_plotly) is not None,
            "topics": {"requests": topics.requests, "dead_letters": topics.dead_letters, "commands": topics.commands},
        }
    )


async def live(request: web.Request) -> web.StreamResponse:
    """Streams until the page goes, its token expires or the gateway leaves."""
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
