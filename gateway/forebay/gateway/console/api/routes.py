"""Routes of the console."""

from __future__ import annotations

from aiohttp import web

from forebay.gateway.console import page

from . import browsing, handoffs, history, live_stream, replaying, worker_commands


def routes() -> list[web.RouteDef]:
    """The page, and its data under ``/console/api``, where each handler checks the admin's key."""
    api = "/console/api"
    return [
        web.get("/console", page.console_page),
        web.get("/console/plotly.min.js", page.plotly),
        web.get(f"{api}/whoami", live_stream.whoami, allow_head=False),
        web.get(f"{api}/live", live_stream.live, allow_head=False),
        web.get(f"{api}/dead-letters", browsing.browse, allow_head=False),
        web.post(f"{api}/dead-letters/replay", replaying.replay),
        web.post(f"{api}/dead-letters/purge", replaying.purge),
        web.get(f"{api}/dead-letters/{{id}}", browsing.show, allow_head=False),
        web.get(f"{api}/jobs/{{id}}", replaying.job, allow_head=False),
        web.post(f"{api}/jobs/{{id}}/stop", replaying.stop),
        web.get(f"{api}/handoffs", handoffs.latest, allow_head=False),
        web.get(f"{api}/audit", history.audit, allow_head=False),
        web.post(f"{api}/commands", worker_commands.say),
    ]
