"""Runs a worker of any kind in its process: the topics it needs, health, signals, a drained end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.schemas import Cluster, SettingsError
from forebay.telemetry.gc_tuning import settle_memory
from forebay.telemetry.health import Health
from forebay.telemetry.metrics import tell_version

from .engine.worker import Worker


async def check_topics(cluster: Cluster, needed: Iterable[str]) -> None:
    """Raises ClusterError when the cluster does not answer or a topic is missing."""
    admin = AIOKafkaAdminClient(**cluster.connection())
    try:
        await admin.start()
        existing = await admin.list_topics()
    except (KafkaError, OSError) as error:
        raise cluster.explain(error) from error
    finally:
        await admin.close()
    cluster.missing(existing, needed)


async def be_healthy(worker: Worker, port: int, refresh: Callable[[], None], closing: AsyncExitStack) -> None:
    """Serves the health endpoints until ``closing``. Raises SettingsError where the port is taken."""
    tell_version()
    health = Health(port, live=worker.live, ready=worker.ready, refresh=refresh)
    try:
        await health.start()
    except SettingsError:
        await worker.close()
        raise
    closing.push_async_callback(health.stop)


async def run_until_signal(worker: Worker, cluster: Cluster, stop: Callable[[], None]) -> None:
    """Runs it until SIGTERM or SIGINT, of which ``stop`` is told. Raises ClusterError."""
    loop = asyncio.get_running_loop()
    for wish in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wish, stop)
    settle_memory()
    try:
        await worker.run()
    except KafkaError as error:
        raise cluster.explain(error) from error
