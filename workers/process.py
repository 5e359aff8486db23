"""A worker process: what `spillway worker` runs, from settings to a drained end."""

from __future__ import annotations

import asyncio
import gc
import signal

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas import Cluster, SettingsError

from . import logs
from .answering import Answering
from .assistants import Assistant, load_assistant
from .assistants.definition import DEFAULT_MODEL
from .conversations import Store, StoreError, open_store
from .conversations.sqlite import SQLiteStore
from .health import Health
from .models import Catalogue, CatalogueModel, Model, connect
from .settings import WorkerSettings
from .worker import Worker, worker_name

log = structlog.get_logger()

_FORGET_EVERY_S = 60.0


async def serve(cluster: Cluster, settings: WorkerSettings) -> None:
    """Runs one worker until SIGTERM or SIGINT. Raises SettingsError or ClusterError before any turn is taken."""
    name = worker_name()
    logs.configure(settings.log, worker=name)
    assistant, model, known = _assistant(settings)
    await check_topics(cluster)
    store = open_store(settings.store)

    def answering(worker: Worker) -> Answering:
        return Answering(
            assistant=assistant,
            model=model,
            known=known,
            store=store,
            turn_ttl_s=settings.turn_ttl_s,
            deltas=worker.deltas,
        )

    worker = Worker(cluster, settings, answering, name=name)
    health = Health(settings.health_port, live=worker.live, ready=worker.ready, refresh=worker.refresh_metrics)
    try:
        await health.start()
    except SettingsError:
        await worker.close()
        await store.close()
        raise
    loop = asyncio.get_running_loop()
    for wish in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wish, worker.stop)
    tidying = asyncio.create_task(_forget_old(store), name="store.forget")
    _settle_memory()
    try:
        await worker.run()
    except KafkaError as error:
        raise cluster.explain(error) from error
    finally:
        tidying.cancel()
        await health.stop()
        await store.close()
        await model.close()


def _settle_memory() -> None:
    """Keeps the collector off what lives as long as the process, and from running at every few turns.

    A turn's objects die by reference count; a full collection walks every object of the SDKs for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def check_topics(cluster: Cluster) -> None:
    """Raises ClusterError when the cluster does not answer or a topic is missing."""
    topics = cluster.topics
    admin = AIOKafkaAdminClient(**cluster.connection())
    try:
        await admin.start()
        existing = await admin.list_topics()
    except (KafkaError, OSError) as error:
        raise cluster.explain(error) from error
    finally:
        await admin.close()
    cluster.missing(existing, (topics.requests, topics.replies, topics.deltas, topics.dead_letters))


def _assistant(settings: WorkerSettings) -> tuple[Assistant, Model, CatalogueModel]:
    assistant = load_assistant(settings.assistant)
    name, known = Catalogue.load(settings.catalogue).find(assistant.model or settings.model or DEFAULT_MODEL)
    return assistant, connect(name, known, settings.concurrency), known


async def _forget_old(store: Store) -> None:
    """Keeps the embedded store from growing for ever, a little at a time."""
    while isinstance(store, SQLiteStore):
        try:
            while await store.forget_old() > 0:
                await asyncio.sleep(0.1)
        except StoreError as error:
            log.warning("store.forget_failed", error=str(error))
        await asyncio.sleep(_FORGET_EVERY_S)
