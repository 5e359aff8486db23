"""A worker process: what `forebay worker` runs, from settings to a drained end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import structlog

from forebay.schemas import Cluster, Topics
from forebay.telemetry import logs
from forebay.telemetry.export import exporting

from .answering.pseudonyms import hidden
from .assembly import Assembly
from .assistants import load_assistant
from .conversations import Store, StoreError, open_store
from .conversations.sqlite import SQLiteStore
from .engine.worker import Worker, worker_name
from .remembered_messages import RememberedMessages
from .running import be_healthy, check_topics, run_until_signal
from .settings import WorkerSettings

log = structlog.get_logger()

_FORGET_EVERY_S = 60.0


async def serve(cluster: Cluster, settings: WorkerSettings) -> None:
    """Runs one worker until SIGTERM or SIGINT. Raises SettingsError or ClusterError before any turn is taken."""
    name = worker_name()
    async with AsyncExitStack() as closing:
        assistant = load_assistant(settings.assistant)
        logs.configure(settings.log, hide=hidden(assistant.redaction) if assistant.redaction else None, worker=name)
        await closing.enter_async_context(exporting("forebay-worker", name))
        parts = await Assembly.of(assistant, settings, closing)
        await check_topics(cluster, _needed(cluster.topics))
        store = open_store(settings.store, settings.store_key)
        closing.push_async_callback(store.close)
        worker = Worker(cluster, settings, partial(parts.answering, store, name), name=name)

        def refresh() -> None:
            worker.refresh_metrics()
            parts.refresh_metrics()

        await be_healthy(worker, settings.health_port, refresh, closing)
        await _work(worker, store, RememberedMessages(cluster, settings.group, name, store), cluster)


async def _work(worker: Worker, store: Store, messages: RememberedMessages, cluster: Cluster) -> None:
    beside = [
        asyncio.create_task(_forget_old(store), name="store.forget"),
        asyncio.create_task(messages.run(), name="messages"),
    ]
    try:
        await run_until_signal(worker, cluster, worker.stop)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


def _needed(topics: Topics) -> tuple[str, ...]:
    fleet = (topics.workers, topics.commands, topics.cancellations, topics.messages)
    answers = (topics.replies, topics.deltas, topics.dead_letters, topics.handoffs)
    return (topics.requests, *answers, *fleet)


async def _forget_old(store: Store) -> None:
    """Keeps the embedded store from growing for ever, a little at a time."""
    while isinstance(store, SQLiteStore):
        try:
            while await store.forget_old() > 0:
                await asyncio.sleep(0.1)
        except StoreError as error:
            log.warning("store.forget_failed", error=str(error))
        await asyncio.sleep(_FORGET_EVERY_S)
