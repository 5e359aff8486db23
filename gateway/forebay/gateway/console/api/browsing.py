"""Browsing dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiohttp import web

from forebay.gateway.console import views
from forebay.gateway.console.admin import admin_of, explained
from forebay.gateway.console.params import count_of, filter_of, letter_id
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.problem import Problem
from forebay.operations.dead_letters.dead_letters import DeadLetters, NoSuchLetterError
from forebay.schemas import ClusterError

READ_S = 20.0
"""How long looking for a page may take: a filter that matches little reads the whole topic."""
PAGE = 50
MOST = 200


async def browse(request: web.Request) -> web.Response:
    """One page of letters, newest first; ``?after=`` continues after a letter."""
    admin_of(request)
    topic = GatewayContext.of(request).cluster.topics.dead_letters
    wanted, limit = filter_of(request, topic), count_of(request, PAGE, MOST)
    after = letter_id(request.query["after"], topic) if "after" in request.query else None
    rows: list[dict[str, Any]] = []
    async with reading(request) as letters, aclosing(letters.browse(wanted, limit=limit, after=after)) as found:
        async for letter in found:
            rows.append(views.row(letter))  # noqa: PERF401 - a comprehension would be one frame more in every traceback
    return web.json_response({"letters": rows, "next": rows[-1]["id"] if len(rows) == limit else None})


async def show(request: web.Request) -> web.Response:
    """One letter with its headers and its value."""
    admin_of(request)
    place = letter_id(request.match_info["id"], GatewayContext.of(request).cluster.topics.dead_letters)
    async with reading(request) as letters:
        return web.json_response(views.whole(await letters.get(place)))


@asynccontextmanager
async def reading(request: web.Request, within_s: float = READ_S) -> AsyncIterator[DeadLetters]:
    """Yields the dead letters; failures become problems that the page can show. Raises Problem."""
    try:
        async with asyncio.timeout(within_s), DeadLetters(GatewayContext.of(request).cluster) as letters:
            yield letters
    except NoSuchLetterError as error:
        raise Problem(404, str(error)) from None
    except ClusterError as error:
        raise explained(error) from error
    except TimeoutError:
        raise Problem(
            503,
            f"reading the dead letters took more than {within_s:g} s: narrow it by time, or use `forebay dlq`",
            code="slow",
        ) from None
