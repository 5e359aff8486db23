"""The latest actions of operators: commands from their topic, the rest from this gateway's memory."""

from __future__ import annotations

from aiohttp import web

from forebay.gateway.console.admin import admin_of
from forebay.gateway.console.audit import SHOWN
from forebay.gateway.console.console import Console
from forebay.gateway.console.latest_records import latest
from forebay.gateway.http.context import GatewayContext
from forebay.schemas import Cluster, Command, DecodeError, decode_command


async def audit(request: web.Request) -> web.Response:
    """The latest actions, newest first."""
    admin_of(request)
    context = GatewayContext.of(request)
    actions = Console.of(request).audit.latest(await _commands(context.cluster))
    shown = [action._asdict() | {"at": action.at.isoformat()} for action in actions]
    return web.json_response({"actions": shown, "topic": context.cluster.topics.commands})


async def _commands(cluster: Cluster) -> list[tuple[Command, str]]:
    found = []
    async for record in latest(cluster, cluster.topics.commands, SHOWN):
        try:
            command = decode_command(record.value)
        except DecodeError:
            continue
        found.append((command, (record.key or b"").decode("utf-8", "backslashreplace")))
    return found
