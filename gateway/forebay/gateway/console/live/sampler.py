"""The sampler: looks once a second, whoever watches, and tells all open consoles the same bytes.

It always runs, because a console that is opened in trouble has to show how the trouble began. The point it keeps costs
well under a millisecond; the whole snapshot is put together only while somebody watches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from forebay.gateway.http.context import Door
from forebay.gateway.stream.record import Record, Stream
from forebay.operations.findings import findings
from forebay.operations.fleet_view import Moment, partitions_of, situation_of
from forebay.operations.latencies import Latencies
from forebay.operations.offset_ages import Ages
from forebay.telemetry.rate import Rate

from .snapshot import snapshot_of
from .timeline import History, point_of

log = structlog.get_logger()

SAMPLE_S = 1.0
_RATE_S = 3.0
"""Over which rates are measured: Kafka hands records over in batches, so that one second alone jumps."""


class Sampler:
    """One for all consoles of a gateway."""

    def __init__(self, door: Door, more: Callable[[], dict[str, Any]]) -> None:
        """``more`` is put into each snapshot as it is."""
        self._door, self._more = door, more
        self._ages, self._latencies, self._history = Ages(), Latencies(), History()
        self._offered, self._answered = Rate(_RATE_S), Rate(_RATE_S)
        self._coming: asyncio.Future[bytes | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.consoles = 0
        self._cost_s = 0.0

    def start(self) -> None:
        """Listens, and looks from now on."""
        self._door.hub.listeners.append(self._heard)
        self._task = asyncio.create_task(self._run(), name="gateway.console")

    async def stop(self) -> None:
        """Looks no more."""
        self.close()
        self._door.hub.listeners.remove(self._heard)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def close(self) -> None:
        """Ends what consoles wait for: the gateway leaves, and they go on at another one."""
        if self._task is not None:
            self._task.cancel()
        if self._coming is not None and not self._coming.done():
            self._coming.set_result(None)

    async def next(self) -> bytes | None:
        """The next snapshot as an event; None when there will be none."""
        if self._task is None or self._task.done() or self._task.cancelling():
            return None
        if self._coming is None or self._coming.done():
            self._coming = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._coming)

    def opening(self) -> bytes:
        """What a console that opens is told first: the last half hour, and now."""
        return _event("history", self._history.columns()) + self._look(keep=False)

    def _heard(self, record: Record) -> None:
        if record.stream is Stream.REQUESTS:
            self._ages.heard(record.partition, record.offset, record.timestamp)
        elif record.stream is Stream.REPLIES:
            try:
                reply = orjson.loads(record.value)
            except orjson.JSONDecodeError:
                return
            if isinstance(reply, dict):
                self._latencies.heard(reply, time.time())

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._sample()
            except Exception as error:
                log.error("console.sample_failed", error=repr(error), exc_info=True)
            self._cost_s = time.monotonic() - began
            await asyncio.sleep(max(0.0, began + SAMPLE_S - time.monotonic()))

    def _sample(self) -> None:
        watched = self._coming is not None and not self._coming.done()
        frame = self._look(keep=True, whole=watched)
        if watched and self._coming is not None:
            self._coming.set_result(frame)

    def _look(self, *, keep: bool, whole: bool = True) -> bytes:
        moment = self._moment(note=keep)
        partitions = partitions_of(moment, self._ages)
        point = point_of(moment, partitions)
        if keep:
            self._history.add(point)
        if not whole:
            return b""
        snapshot, gateway = snapshot_of(moment, partitions, point), self._gateway()
        situation = situation_of(
            moment,
            partitions,
            turn_ttl_s=self._door.settings.turn_ttl_s,
            models=snapshot["models"],
            spending=snapshot["spending"],
            wait_s=gateway["wait_s"],
            kafka_away_s=gateway["kafka_away_s"],
            streaming=gateway["streaming"],
        )
        troubles = [finding._asdict() for finding in findings(situation)]
        return _event("snapshot", snapshot | {"troubles": troubles, "gateway": gateway} | self._more())

    def _moment(self, *, note: bool) -> Moment:
        door, now = self._door, time.time()
        positions, fleet = door.hub.tail.positions, door.fleet
        states = fleet.workers(now)
        if note:
            for stream, rate in ((Stream.REQUESTS, self._offered), (Stream.REPLIES, self._answered)):
                rate.note(sum(end for (of, _), end in positions.items() if of is stream), time.monotonic())
        return Moment(
            now=now,
            group=door.settings.group,
            log_ends={number: end for (of, number), end in positions.items() if of is Stream.REQUESTS},
            backlogs=door.hub.backlog.queue.partitions,
            states=states,
            silent=frozenset(state.worker_id for state in fleet.silent(now)),
            offered=self._offered.latest,
            answered=self._answered.latest,
            window=self._latencies.window(now),
        )

    def _gateway(self) -> dict[str, Any]:
        door = self._door
        away = door.hub.backlog.kafka_away_since
        return {
            "connections": door.connections.count,
            "streaming": door.acceptance.streaming.on,
            "wait_s": round(door.hub.backlog.queue.longest_wait_s(time.monotonic()), 1),
            "kafka_away_s": None if away is None else round(time.monotonic() - away, 1),
            "consoles": self.consoles,
            "sample_ms": round(1000 * self._cost_s, 2),
        }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS))
