"""The console of one gateway: its sampler, its jobs and its audit, which live as long as the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from forebay.gateway.console.live.sampler import Sampler
from forebay.gateway.http.context import GatewayContext

from .audit import Audit
from .jobs import Jobs


class Console:
    """What the console's handlers share."""

    def __init__(self, context: GatewayContext) -> None:
        self.context = context
        self.audit = Audit()
        self.jobs = Jobs()
        self.sampler = Sampler(context, self._job)

    @staticmethod
    def of(request: web.Request) -> Console:
        """The console of the gateway that serves this request."""
        return request.app[KEY]

    def _job(self) -> dict[str, Any]:
        return {"job": None if self.jobs.latest is None else self.jobs.latest.fields()}


KEY = web.AppKey("console", Console)


def attach(app: web.Application, context: GatewayContext) -> None:
    """Starts and stops the console with the application."""
    app[KEY] = console = Console(context)

    async def life(_: web.Application) -> AsyncIterator[None]:
        console.sampler.start()
        yield
        await console.sampler.stop()

    async def leave(_: web.Application) -> None:
        console.sampler.close()
        await console.jobs.close()

    app.cleanup_ctx.append(life)
    app.on_shutdown.append(leave)
