"""The sampler: looks at the fleet once a second, and sends all open consoles the same bytes.

It always runs: a console that is opened during an incident has to show how it began. The point that it keeps costs well
under a millisecond; a whole snapshot is made only while a console is open.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from forebay.gateway.http.context import GatewayContext
from forebay.gateway.stream.record import ConversationRecord, Stream
from forebay.operations.findings import findings
from forebay.operations.fleet_view import FleetView, partitions_of, situation_of
from forebay.operations.latencies import Latencies
from forebay.operations.offset_ages import Ages
from forebay.telemetry.rate import Rate

from .snapshot import snapshot_of
from .timeline import Timeline, point_of

log = structlog.get_logger()

SAMPLE_S = 1.0
_RATE_S = 3.0
"""Over which rates are measured: Kafka hands records over in batches, so that one second alone jumps."""


class Sampler:
    """Samples for all consoles of a gateway."""

    def __init__(self, context: GatewayContext, more: Callable[[], dict[str, Any]]) -> None:
        """``more`` returns fields that are added to each snapshot."""
        self._context, self._more = context, more
        self._ages, self._latencies, self._timeline = Ages(), Latencies(), Timeline()
        self._offered, self._answered = Rate(_RATE_S), Rate(_RATE_S)
        self._coming: asyncio.Future[bytes | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.consoles = 0
        self._cost_s = 0.0

    def start(self) -> None:
        """Starts sampling."""
        self._context.hub.listeners.append(self._heard)
        self._task = asyncio.create_task(self._run(), name="gateway.console")

    async def stop(self) -> None:
        """Stops sampling."""
        self.close()
        self._context.hub.listeners.remove(self._heard)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def close(self) -> None:
        """Ends the waiting of all consoles: the gateway stops, and they go on at another one."""
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
        """The first events of a console that opens: the last half hour, and now."""
        return _event("history", self._timeline.columns()) + self._look(keep=False)

    def _heard(self, record: ConversationRecord) -> None:
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
        view = self._view(note=keep)
        partitions = partitions_of(view, self._ages)
        point = point_of(view, partitions)
        if keep:
            self._timeline.add(point)
        if not whole:
            return b""
        snapshot, gateway = snapshot_of(view, partitions, point), self._gateway()
        situation = situation_of(
            view,
            partitions,
            turn_ttl_s=self._context.settings.turn_ttl_s,
            models=snapshot["models"],
            spending=snapshot["spending"],
            wait_s=gateway["wait_s"],
            kafka_away_s=gateway["kafka_away_s"],
            streaming=gateway["streaming"],
        )
        troubles = [finding._asdict() for finding in findings(situation)]
        return _event("snapshot", snapshot | {"troubles": troubles, "gateway": gateway} | self._more())

    def _view(self, *, note: bool) -> FleetView:
        context, now = self._context, time.time()
        hub, fleet = context.hub, context.fleet
        log_ends, reply_ends = hub.log_ends(Stream.REQUESTS), hub.log_ends(Stream.REPLIES)
        if note:
            self._offered.note(sum(log_ends.values()), time.monotonic())
            self._answered.note(sum(reply_ends.values()), time.monotonic())
        return FleetView(
            now=now,
            group=context.settings.group,
            log_ends=log_ends,
            backlogs=hub.backlogs,
            states=fleet.workers(now),
            silent=frozenset(state.worker_id for state in fleet.silent(now)),
            offered=self._offered.latest,
            answered=self._answered.latest,
            replies=self._latencies.window(now),
        )

    def _gateway(self) -> dict[str, Any]:
        context = self._context
        away_s = context.hub.kafka_away_s()
        return {
            "connections": context.connections.count,
            "streaming": context.submission.streaming.on,
            "wait_s": round(context.hub.longest_wait_s(), 1),
            "kafka_away_s": None if away_s is None else round(away_s, 1),
            "consoles": self.consoles,
            "sample_ms": round(1000 * self._cost_s, 2),
        }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS))
