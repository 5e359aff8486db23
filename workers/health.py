"""Health and metrics over HTTP: ``/livez``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas import SettingsError

log = structlog.get_logger()

Check = Callable[[], str | None]
"""Says what is wrong, or None."""


class Health:
    """A small HTTP server. Answers 200 ``ok``, or 503 with the reason."""

    def __init__(self, port: int, *, live: Check, ready: Check, refresh: Callable[[], None]) -> None:
        """``refresh`` sets the gauges just before metrics are read."""
        self._port = port
        self._refresh = refresh
        app = web.Application()
        app.router.add_get("/livez", _answering(live))
        app.router.add_get("/readyz", _answering(ready))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> int:
        """Listens; returns the port. Raises SettingsError when it is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "0.0.0.0", self._port).start()  # noqa: S104 - probes come from outside
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(
                f"SPILLWAY_HEALTH_PORT={self._port}: {error.strerror or error}: choose another, or 0 for a free one"
            ) from None
        port: int = self._runner.addresses[0][1]
        log.info("health.listening", port=port)
        return port

    async def stop(self) -> None:
        """Closes the server."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        self._refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answering(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def verdict(_: web.Request) -> web.Response:
        reason = check()
        return web.Response(text=reason or "ok", status=503 if reason else 200)

    return verdict
