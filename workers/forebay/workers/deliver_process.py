"""A process that delivers webhooks: what `forebay deliver` runs, from settings to a drained end."""

from __future__ import annotations

from contextlib import AsyncExitStack

from forebay.schemas import Cluster
from forebay.telemetry import logs
from forebay.telemetry.export import exporting

from .deliver_settings import DeliverSettings
from .engine.worker import Worker, worker_name
from .running import be_healthy, check_topics, run_until_signal
from .webhooks.deliveries import Deliveries
from .webhooks.destinations import read_destinations
from .webhooks.inbound_reply import replies_of
from .webhooks.sender import Sender


async def deliver(cluster: Cluster, settings: DeliverSettings) -> None:
    """Delivers until SIGTERM or SIGINT. Raises SettingsError or ClusterError before any reply is taken."""
    name, source = worker_name(), replies_of(cluster.topics)
    destinations = read_destinations(settings.webhooks)
    async with AsyncExitStack() as closing:
        logs.configure(settings.log, worker=name)
        await closing.enter_async_context(exporting("forebay-deliver", name))
        await check_topics(cluster, (source.topic, source.dead_letters, cluster.topics.commands))
        sender = Sender(settings.webhooks_concurrency, settings.webhooks_timeout_s)
        closing.push_async_callback(sender.close)
        deliveries = Deliveries(destinations, sender, settings.bounds(), breaker=settings.breaker())
        worker = Worker(cluster, settings.engine(), lambda _: deliveries, name=name, source=source)

        def stop() -> None:
            worker.stop()
            deliveries.stop()

        await be_healthy(worker, settings.health_port, deliveries.refresh_metrics, closing)
        await run_until_signal(worker, cluster, stop)
