"""Conversations that a person has taken over. An operator returns one with the command that is shown."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import ValidationError

from forebay.gateway.console import views
from forebay.gateway.console.admin import admin_of
from forebay.gateway.console.latest_records import latest as latest_records
from forebay.gateway.console.params import count_of
from forebay.gateway.http.context import GatewayContext
from forebay.schemas import Handoff

SHOWN = 50
MOST = 200


async def latest(request: web.Request) -> web.Response:
    """The latest hand-offs with their transcripts, each once."""
    admin_of(request)
    cluster = GatewayContext.of(request).cluster
    found: dict[str, dict[str, Any]] = {}
    unreadable = 0
    async for record in latest_records(cluster, cluster.topics.handoffs, count_of(request, SHOWN, MOST)):
        try:
            handoff = Handoff.model_validate_json(record.value or b"")
        except ValidationError:
            unreadable += 1
        else:
            found.setdefault(handoff.handoff_id, views.handoff(handoff))
    return web.json_response({"handoffs": list(found.values()), "unreadable": unreadable})
