"""The process of ``forebay gateway``: serves until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time

from forebay.gateway import Gateway, GatewaySettings
from forebay.schemas import Cluster
from forebay.telemetry import logs
from forebay.telemetry.export import exporting
from forebay.telemetry.gc_tuning import settle_memory
from forebay.telemetry.health import Health
from forebay.telemetry.metrics import tell_version

_BEAT_S = 0.5
_BLOCKED_S = 30.0
"""Without a beat of the event loop, after which the process should be restarted."""


async def serve(cluster: Cluster, settings: GatewaySettings) -> None:
    """Runs one gateway until SIGTERM or SIGINT. Raises SettingsError or ClusterError before it listens."""
    logs.configure(settings.log)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for wish in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wish, stop.set)
    beaten = time.monotonic()

    instance = f"{socket.gethostname()}-{os.getpid()}"
    async with exporting("forebay-gateway", instance), Gateway.running(cluster, settings) as gateway:

        def live() -> str | None:
            silent = time.monotonic() - beaten
            return f"the event loop has stood still for {silent:.0f} s" if silent > _BLOCKED_S else gateway.live()

        tell_version()
        health = Health(settings.health_port, live=live, ready=gateway.ready, refresh=gateway.refresh_metrics)
        await health.start()
        settle_memory()
        try:
            while not stop.is_set():
                beaten = time.monotonic()
                try:
                    await asyncio.wait_for(stop.wait(), _BEAT_S)
                except TimeoutError:
                    continue
        finally:
            await health.stop()
