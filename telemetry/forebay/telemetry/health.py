"""Health and metrics over HTTP: ``/livez``, ``/readyz`` and ``/metrics``.

The server has a thread and an event loop of its own, so that it can say that the worker's loop is blocked.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

import structlog
from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from forebay.schemas import SettingsError

log = structlog.get_logger()

ANSWER_S = 0.5
"""How long the worker's loop may take to answer, in seconds: a kubelet's probe waits for one second by default."""
_CLOSE_S = 1.0

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""
Result = TypeVar("Result")


class Health:
    """A small HTTP server. Answers 200 ``ok``, or 503 with the reason."""

    def __init__(self, port: int, *, live: Check, ready: Check, refresh: Callable[[], None]) -> None:
        """``live`` is asked in the server's thread; ``ready``, and ``refresh`` which sets the gauges just before metrics
        are read, in the loop that calls `start`.
        """
        self._port = port
        self._live, self._ready, self._refresh = live, ready, refresh
        self._listening: Future[int] = Future()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="forebay-health", daemon=True)

    async def start(self) -> int:
        """Listens; returns the port. Raises SettingsError when it is taken."""
        self._worker_loop = asyncio.get_running_loop()
        self._thread.start()
        try:
            port = await asyncio.wrap_future(self._listening)
        except OSError as error:
            raise SettingsError(
                f"FOREBAY_HEALTH_PORT={self._port}: {error.strerror or error}: choose another, or 0 for a free one"
            ) from None
        log.info("health.listening", port=port)
        return port

    async def stop(self) -> None:
        """Stops the server."""
        with suppress(RuntimeError):  # it has ended by itself
            self._server_loop.call_soon_threadsafe(self._stopping.set)
        await asyncio.to_thread(self._thread.join)

    async def _serve(self) -> None:
        self._server_loop = asyncio.get_running_loop()
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_S)
        try:
            await runner.setup()
            await web.TCPSite(runner, "0.0.0.0", self._port).start()  # noqa: S104 - probes come from outside
        except BaseException as error:
            self._listening.set_exception(error)
        else:
            self._listening.set_result(runner.addresses[0][1])
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        return _verdict(self._live())

    async def _readyz(self, _: web.Request) -> web.Response:
        try:
            return _verdict(await self._ask(self._ready))
        except TimeoutError:
            return _verdict(f"the event loop has not answered for {ANSWER_S:g} s")

    async def _metrics(self, request: web.Request) -> web.Response:
        """In the form that the scraper asks for: exemplars are in OpenMetrics only."""
        with suppress(TimeoutError):  # what the watchdog sets is true all the same
            await self._ask(self._refresh)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(REGISTRY), headers={"Content-Type": content_type})

    async def _ask(self, question: Callable[[], Result]) -> Result:
        """Asks in the worker's loop, to which what is asked belongs. Raises TimeoutError when that does not come to it."""

        async def asked() -> Result:
            return question()

        answer = asyncio.run_coroutine_threadsafe(asked(), self._worker_loop)
        return await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_S)


def _verdict(reason: str | None) -> web.Response:
    return web.Response(text=reason or "ok", status=503 if reason else 200)
