"""The world around the workers, and the hand that breaks it: performs the events of a schedule."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka

from .schedule import EventKind, ScheduledEvent

_SIGNALS = {
    EventKind.SIGKILL: signal.SIGKILL,
    EventKind.SIGTERM: signal.SIGTERM,
    EventKind.SIGSTOP: signal.SIGSTOP,
    EventKind.SIGCONT: signal.SIGCONT,
}


class World:
    """Kafka, the model API, the store and the workers of one run."""

    def __init__(
        self,
        kafka: EmbeddedKafka | None,
        api: ModelApi | None,
        store: Path,
        strike: Callable[[int, signal.Signals], None],
        restart: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Without ``kafka`` or ``api`` nothing may happen to them; ``restart`` does nothing where workers come back alone."""
        self._embedded_kafka = kafka
        self._simulated_api = api
        self._store = StoreLock(store)
        self._strike = strike
        self._restart = restart

    @property
    def _kafka(self) -> EmbeddedKafka:
        if self._embedded_kafka is None:
            raise ValueError("a Kafka that is not ours cannot be broken")
        return self._embedded_kafka

    @property
    def _api(self) -> ModelApi:
        if self._simulated_api is None:
            raise ValueError("a provider that is not ours cannot be broken")
        return self._simulated_api

    async def perform(self, event: ScheduledEvent) -> None:
        """Makes one event happen; returns when it has."""
        match event.kind:
            case EventKind.SIGKILL | EventKind.SIGTERM | EventKind.SIGSTOP | EventKind.SIGCONT:
                self._strike(_worker(event), _SIGNALS[event.kind])
            case EventKind.START:
                self._restart(_worker(event))
            case EventKind.BROKER_KILL | EventKind.BROKER_STOP:
                await asyncio.to_thread(self._kafka.stop, kill=event.kind is EventKind.BROKER_KILL)
            case EventKind.BROKER_START:
                await asyncio.to_thread(self._kafka.start)
            case EventKind.STORE_LOCK:
                await asyncio.to_thread(self._store.hold)
            case EventKind.STORE_UNLOCK:
                await asyncio.to_thread(self._store.release)
            case EventKind.OUTAGE:
                self._api.set_limits(outage="503")
            case EventKind.OUTAGE_OVER:
                self._api.set_limits(outage=None)
            case EventKind.CALM:
                self._api.clear_faults()
            case fault:
                self._api.add_fault(fault.value, share=event.share)

    def close(self) -> None:
        """Lets go of what an interrupted run still holds."""
        self._store.release()


class StoreLock:
    """Makes the store unwritable, as a stuck process that shares the file would."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._holder: sqlite3.Connection | None = None

    def hold(self) -> None:
        """Takes the file's write lock. A stopped worker may hold it already, which is the same to the others."""
        if not self._path.exists():
            return  # an engine without a store
        holder = sqlite3.connect(self._path, isolation_level=None, timeout=2.0, check_same_thread=False)
        try:
            holder.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            holder.close()
        else:
            self._holder = holder

    def release(self) -> None:
        """Gives it back. Safe to call twice."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.execute("ROLLBACK")
            holder.close()


def _worker(event: ScheduledEvent) -> int:
    assert event.worker is not None
    return event.worker
