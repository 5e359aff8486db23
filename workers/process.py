"""A worker process: what `spillway worker` runs, from settings to a drained end."""

from __future__ import annotations

import asyncio
import gc
import signal
import time

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas import Cluster, SettingsError

from . import logs, metrics
from .answering import Answering
from .assistants import Assistant, load_assistant
from .assistants.definition import DEFAULT_MODEL
from .conversations import Store, StoreError, open_store
from .conversations.sqlite import SQLiteStore
from .flow.breaker import BreakerPolicy
from .flow.budget import Budget, Ceilings
from .flow.chain import Chain
from .flow.concurrency import AdaptiveLimit
from .flow.hedge import Hedge
from .flow.shared_limits import SharedLimits
from .flow.upstream import Upstream
from .health import Health
from .models import Catalogue, Clients, ModelOptions, keys_of
from .settings import WorkerSettings
from .worker import Worker, worker_name

log = structlog.get_logger()

_FORGET_EVERY_S = 60.0


async def serve(cluster: Cluster, settings: WorkerSettings) -> None:
    """Runs one worker until SIGTERM or SIGINT. Raises SettingsError or ClusterError before any turn is taken."""
    name = worker_name()
    logs.configure(settings.log, worker=name)
    assistant = load_assistant(settings.assistant)
    clients = Clients(settings.connections, settings.timeouts())
    shared = SharedLimits(settings.limits, settings.limit_workers) if settings.limits else None
    chain = connect(assistant, settings, clients, shared)
    budget = Budget(settings.ceilings())
    if budget.ceilings != Ceilings() and (unpriced := [u.name for u in chain.upstreams if u.known.price is None]):
        raise SettingsError(
            f"SPILLWAY_BUDGET_...: the price of {unpriced[0]} is not known; add it by SPILLWAY_CATALOGUE"
        )
    await check_topics(cluster)
    if shared is not None:
        await shared.reach()
    store = open_store(settings.store)

    def answering(worker: Worker) -> Answering:
        return Answering(
            assistant=assistant,
            chain=chain,
            budget=budget,
            hedge=Hedge(settings.hedge_share),
            store=store,
            turn_ttl_s=settings.turn_ttl_s,
            deltas=worker.deltas,
            worker=name,
        )

    worker = Worker(cluster, settings, answering, name=name)

    def refresh() -> None:
        worker.refresh_metrics()
        chain.refresh_metrics()
        metrics.BUDGET_USED.set(budget.used(time.time()))

    health = Health(settings.health_port, live=worker.live, ready=worker.ready, refresh=refresh)
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
        await clients.close()
        if shared is not None:
            await shared.close()


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
    cluster.missing(existing, (topics.requests, topics.replies, topics.deltas, topics.dead_letters, topics.handoffs))


def connect(
    assistant: Assistant, settings: WorkerSettings, clients: Clients, shared: SharedLimits | None = None
) -> Chain:
    """The models that may answer for an assistant, each behind each of its provider's keys. Raises SettingsError."""
    catalogue = Catalogue.load(settings.catalogue)
    breaker = BreakerPolicy(failures=settings.breaker_failures, open_s=settings.breaker_open_s)
    names, tiers = wanted_models(assistant, settings), []
    for wanted in names:
        name, known = catalogue.find(wanted)
        options = assistant.options.get(wanted, ModelOptions())
        if options.sampling and not known.sampling:
            raise SettingsError(
                f"the assistant's options for {wanted}: it takes no {min(options.sampling)}; leave it out"
            )
        keys = keys_of(known.provider, name)
        tier = [
            Upstream(
                clients.model(name, known.provider, key, options),
                known,
                f"#{number}" if len(keys) > 1 else "",
                breaker,
                settings.rate_limits(),
            )
            for number, key in enumerate(keys, 1)
        ]
        if shared is not None:
            for upstream, key in zip(tier, keys, strict=True):
                upstream.rate = shared.limit(f"{known.provider} {name} {key}", settings.rate_limits())
        tiers.append(tier)
    chain = Chain(tiers, AdaptiveLimit(settings.concurrency, settings.concurrency_floor), names)
    if shared is not None:
        shared.on_change = chain.look
    return chain


def wanted_models(assistant: Assistant, settings: WorkerSettings) -> tuple[str, ...]:
    """All models of an assistant, by the names it gives them: the first, its fallbacks, then those for some turns."""
    first = assistant.model or settings.model or DEFAULT_MODEL
    own = (specialist.model for specialist in assistant.specialists if specialist.model)
    fallbacks = assistant.fallbacks or settings.fallback_names()
    wanted = (first, *fallbacks, *assistant.models.values(), *own)
    if unknown := set(assistant.options) - set(wanted):
        raise SettingsError(f"the assistant has options for {min(unknown)!r}, a model it never asks: correct the name")
    return tuple(dict.fromkeys(wanted))


async def _forget_old(store: Store) -> None:
    """Keeps the embedded store from growing for ever, a little at a time."""
    while isinstance(store, SQLiteStore):
        try:
            while await store.forget_old() > 0:
                await asyncio.sleep(0.1)
        except StoreError as error:
            log.warning("store.forget_failed", error=str(error))
        await asyncio.sleep(_FORGET_EVERY_S)
