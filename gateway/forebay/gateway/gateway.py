"""The gateway process: from connecting to Kafka until the last connection is closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from aiokafka.errors import KafkaError

from forebay.operations.fleet import Fleet
from forebay.schemas import Cluster, SettingsError

from . import metrics
from .app import application
from .erasures import erasures
from .http.access import ANYBODY, Access, KeySet
from .http.connections import Connections
from .http.context import GatewayContext
from .http.publisher import Publisher
from .http.store_access import StoreAccess
from .http.submission import Submission
from .settings import GatewaySettings, named_keys
from .stream.hub import Hub

log = structlog.get_logger()

LEAVING_S = 5.0
"""How long requests may take to finish once the gateway leaves, in seconds."""
IDLE_S = 20.0
"""How long a connection may take to send the head of a request, the first or the next, in seconds."""
_KAFKA_AWAY_S = 5.0
_DELTAS_EVERY_S = 1.0


class Gateway:
    """A gateway that serves at `url`. Use `running`."""

    def __init__(self, context: GatewayContext, site: web.TCPSite, runner: web.AppRunner) -> None:
        self._context, self._site = context, site
        host, self.port = runner.addresses[0][:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.leaving = False

    @classmethod
    @asynccontextmanager
    async def running(cls, cluster: Cluster, settings: GatewaySettings) -> AsyncIterator[Gateway]:
        """Serves while the context is entered. Raises ClusterError, SettingsError."""
        access = _access(settings)
        async with Fleet(cluster) as fleet:
            hub = Hub(cluster, settings.group, fleet)
            submission, publisher = Submission(cluster, settings, hub), Publisher(cluster, settings)
            try:
                await submission.start()
                await publisher.start()
                await hub.start()
            except BaseException as error:
                await hub.stop()
                await publisher.stop()
                await submission.stop()
                if isinstance(error, (KafkaError, OSError)):
                    raise cluster.explain(error) from error
                raise
            connections = Connections(everyone=settings.gateway_connections, user=settings.gateway_user_connections)
            store = StoreAccess(settings)
            context = GatewayContext(cluster, settings, access, hub, fleet, submission, publisher, connections, store)
            commands = erasures(context)
            try:
                await commands.start()
                async with _listening(context) as (site, runner):
                    gateway = cls(context, site, runner)
                    log.info("gateway.listening", url=gateway.url, port=gateway.port)
                    weighing = asyncio.create_task(gateway._weigh(), name="gateway.weigh")
                    try:
                        yield gateway
                    finally:
                        weighing.cancel()
                        await asyncio.gather(weighing, return_exceptions=True)
                        await gateway._leave()
            finally:
                await commands.stop()
                await store.close()
                await publisher.stop()
                await submission.stop()
                await hub.stop()

    def live(self) -> str | None:
        """Why this process should be restarted, or None."""
        return "the topics are no longer followed" if self._context.hub.deaf else None

    def ready(self) -> str | None:
        """Why this process should get no new connections, or None."""
        if self.leaving:
            return "leaving"
        away_s = self._context.hub.kafka_away_s()
        return f"Kafka has not answered for {away_s:.0f} s" if away_s is not None and away_s > _KAFKA_AWAY_S else None

    def refresh_metrics(self) -> None:
        """Sets the gauges to their current values."""
        hub, connections, submission = self._context.hub, self._context.connections, self._context.submission
        metrics.CONNECTIONS.set(connections.count)
        metrics.ADMISSION_USED.set(max(connections.used, submission.used(time.monotonic())))
        metrics.WAITING.set(hub.waiting)
        metrics.WAIT.set(hub.longest_wait_s())
        submission.refresh_metrics()

    async def _weigh(self) -> None:
        """Decides every second whether turns are streamed."""
        hub, streaming = self._context.hub, self._context.submission.streaming
        before, at = hub.deltas_heard, time.monotonic()
        while True:
            await asyncio.sleep(_DELTAS_EVERY_S)
            heard, now = hub.deltas_heard, time.monotonic()
            was, wait_s = streaming.on, hub.longest_wait_s()
            if streaming.note(wait_s, (heard - before) / (now - at)) != was:
                log.info("gateway.streaming" if streaming.on else "gateway.whole", wait_s=wait_s, deltas=heard - before)
            before, at = heard, now

    async def _leave(self) -> None:
        """Takes no new connections, and ends events and WebSockets; requests may finish."""
        if self.leaving:
            return
        self.leaving = True
        await self._site.stop()
        self._context.hub.close()


@asynccontextmanager
async def _listening(context: GatewayContext) -> AsyncIterator[tuple[web.TCPSite, web.AppRunner]]:
    settings = context.settings
    # aiohttp logs a traceback, and what was sent, of all that is no HTTP: anybody could fill the log.
    quiet = logging.getLogger("forebay.aiohttp")  # no module of ours has this name, so nothing of ours is silenced
    quiet.setLevel(logging.CRITICAL)
    runner = web.AppRunner(
        application(context),
        access_log=None,
        logger=quiet,
        shutdown_timeout=LEAVING_S,
        keepalive_timeout=IDLE_S,
        handler_cancellation=True,  # nothing is done for a client that has left, and what it left behind is noticed at once
    )
    await runner.setup()
    site = web.TCPSite(runner, settings.gateway_host, settings.gateway_port, backlog=4096)
    try:
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"FOREBAY_GATEWAY_PORT={settings.gateway_port} on {settings.gateway_host}: {error.strerror or error}: "
                "choose another, or 0 for a free one"
            ) from None
        yield site, runner
    finally:
        await runner.cleanup()


def _access(settings: GatewaySettings) -> Access:
    try:
        keys = KeySet(settings.gateway_keys) if settings.gateway_keys is not None else None
    except (ValueError, OSError) as error:
        raise SettingsError(f"FOREBAY_GATEWAY_KEYS: {error}") from None
    anybody = ANYBODY._replace(user_id=settings.gateway_open_user)
    return Access(keys, named_keys(settings.gateway_api_keys), named_keys(settings.gateway_admin_keys), anybody)
