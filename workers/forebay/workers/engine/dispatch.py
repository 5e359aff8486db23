"""Dispatch: a turn's way from the intake to its handler, and from there to the outbox.

`accept` (into its conversation's lane), `start_ready` (a permit is free; what waits behind it may join), `_run` (its answer),
`_publish` (and when that is acknowledged, its ledger says that it is done).
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import structlog

from forebay.schemas import Cancellation, Failure, Outcome, Reason, Topics
from forebay.workers import metrics
from forebay.workers.mistakes import MISTAKES, raise_if_ours
from forebay.workers.settings import WorkerSettings

from .cancellations import Cancellations
from .handler import Handler
from .inbound import InboundRecord
from .lanes import Lanes
from .merging import all_join, joins, rule
from .outbox import OutboundRecord, Outbox
from .outcome_counts import OutcomeCounts
from .permit import Permit
from .processing import Processing, sending_spans
from .publication import Publication, outbound_records
from .source import Source
from .turn_group import TurnGroup

log = structlog.get_logger()

REBALANCE_DRAIN_S = 1.0
"""How long a rebalance waits for turns in flight, and then for their replies to be published, in seconds each: the whole
group stands still meanwhile."""
EXPIRY_S = 0.5
"""How often it is looked for turns whose deadline is over."""
_EXPIRING = 200
"""Expired turns answered at once, at most: each reads the store."""
_MIB = 1024 * 1024


def _now() -> datetime:
    return datetime.now(UTC)


Apart = Literal["alone", "refused", "cancelled", "expired"]
"""Why a waiting turn is answered by itself: it wants no other with it; it did not want to wait; nobody wants it; its time is
over. Of the last three no model is asked, so they wait for no permit.
"""


class RunningTurn(NamedTuple):
    """A turn in flight, and those that are answered together with it."""

    task: asyncio.Task[None]
    group: TurnGroup
    began: float
    """In seconds of `time.monotonic`."""


class Dispatch:
    """The turns in the memory of a worker: those that wait, and those in flight."""

    def __init__(
        self,
        settings: WorkerSettings,
        topics: Topics,
        source: Source,
        handler: Handler,
        outbox: Outbox,
        worker_id: str,
    ) -> None:
        self._settings, self._topics, self._worker_id = settings, topics, worker_id
        self._dead_letters = source.dead_letters
        self._failed: Outcome | None = "failed" if source.turns else None
        self._handler = handler
        self._outbox = outbox
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._lanes: Lanes[InboundRecord] = Lanes(settings.concurrency, settings.weights(), settings.patience())
        self._most_bytes = settings.max_waiting_mib * _MIB
        self._held_bytes = 0
        self._typical_bytes = 1024
        self._on_hold = False
        self._cancellations = Cancellations()
        self._apart: dict[InboundRecord, Apart] = {}
        self._room = asyncio.Event()
        self._consumed = metrics.CONSUMED.labels("kafka", "poll", source.topic, settings.group)
        self.running: dict[InboundRecord, RunningTurn] = {}
        """Turns in flight, oldest first; of a group its first turn."""
        self.in_flight = 0
        """Turns in flight, those counted that are answered together with another."""
        self.counts = OutcomeCounts()

    # Bounds

    @property
    def appetite(self) -> int:
        """Turns to ask for: enough for every permit, and no more than the memory left has room for."""
        left = (self._most_bytes - self._held_bytes) // self._typical_bytes
        return max(1, min(max(100, self._settings.concurrency), left))

    @property
    def crowded(self) -> bool:
        """Memory is at its bound: looking far ahead lets others pass a flood at the front of a partition.

        While nobody can answer, what is in memory is enough: turns wait in Kafka.
        """
        lanes, settings = self._lanes, self._settings
        return (
            (lanes.ready >= settings.concurrency and self._handler.ready() is not None)
            or lanes.waiting + self.in_flight >= settings.max_waiting
            or self._held_bytes >= self._most_bytes
        )

    async def has_room(self, timeout_s: float) -> bool:
        """Waits so long until there is room for more turns; False when there is none."""
        while self.crowded:
            self._room.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._room.wait()
            except TimeoutError:
                return False
        return True

    # One turn's way

    def accept(self, polled: Sequence[InboundRecord]) -> None:
        """Takes turns in, each at the end of its conversation's lane."""
        if polled:
            for inbound in polled:
                self._offer(inbound)
            self._consumed.inc(len(polled))
            self._typical_bytes = sum(inbound.size for inbound in polled) // len(polled) + 1
        self.start_ready()

    def _offer(self, inbound: InboundRecord) -> None:
        self._held_bytes += inbound.size
        # By the age of its record: what a rebalance brings came here all at once. Clocks differ, so within reason.
        waited_s = min(max(0.0, time.time() - inbound.timestamp / 1000), self._settings.turn_ttl_s)
        busy = self._lanes.offer(inbound.lane, inbound, self._loop.time() - waited_s, inbound.origin)
        wish = rule(inbound, self._handler.when_busy)
        if self._cancellations.cover(inbound):
            self._apart[inbound] = "cancelled"
        elif busy and wish in ("enqueue", "reject"):
            self._apart[inbound] = "alone" if wish == "enqueue" else "refused"
        elif busy and wish == "interrupt":
            self._interrupt(inbound)
        self._start_unpermitted(inbound.lane)

    def _interrupt(self, inbound: InboundRecord) -> None:
        """Breaks off what runs in this turn's conversation, where both can be answered together."""
        if (first := self._lanes.current(inbound.lane)) is not None:
            group, waiting = self.running[first].group, self._lanes.waiting_in(inbound.lane)
            if all_join(group.turns, waiting, self._handler.when_busy):
                group.interrupt()

    def take_back(self, cancellation: Cancellation, timestamp: int) -> None:
        """A turn is no longer wanted; ``timestamp`` is that of its cancellation's record, in milliseconds."""
        self._cancellations.add(cancellation, timestamp)
        lane = cancellation.conversation_id
        if (first := self._lanes.current(lane)) is not None:
            group = self.running[first].group
            for turn in group.turns:
                if turn.turn_id == cancellation.turn_id and self._cancellations.cover(turn):
                    group.cancel(turn)
        for turn in self._lanes.waiting_in(lane):
            if turn.turn_id == cancellation.turn_id and self._cancellations.cover(turn):
                self._apart[turn] = "cancelled"
        self._start_unpermitted(lane)

    def start_ready(self) -> None:
        """Starts turns while there are permits, conversations that are ready, and no rebalance under way."""
        self._lanes.permits = self.permits
        while not self._on_hold and (inbound := self._lanes.take(self._loop.time())) is not None:
            if running := self.running.get(inbound):
                running.group.permit.granted()
            else:
                self._start(inbound)
        if not self._room.is_set() and not self.crowded:
            self._room.set()

    async def expire(self) -> None:
        """Ends, until cancelled, the turns that wait beyond their deadline: on time, whatever goes before them."""
        while True:
            await asyncio.sleep(EXPIRY_S)
            self.expire_due(time.time())

    def expire_due(self, now: float) -> None:
        """Starts, without a permit, turns whose deadline is over by ``now`` (since the epoch): no model is called."""
        ttl_s, most = self._settings.turn_ttl_s, _EXPIRING + self._settings.concurrency
        for lane, turn in list(self._lanes.idle_since(self._loop.time() - ttl_s)):
            if len(self.running) >= most:
                return  # the others the next time
            if turn.deadline(ttl_s) <= now:
                self._apart[turn] = "expired"
                self._start_unpermitted(lane)

    def _start_unpermitted(self, lane: Hashable) -> None:
        """Starts the next turn of a conversation where nobody is asked for its answer."""
        following = self._lanes.first_waiting(lane)
        if following is None or self._on_hold or self._apart.get(following, "alone") == "alone":
            return
        if (inbound := self._lanes.take_unpermitted(lane)) is not None:
            self._start(inbound)

    def _start(self, inbound: InboundRecord) -> None:
        group = TurnGroup([inbound], Permit(self._lanes, inbound.lane, self.start_ready), self._joining)
        apart = self._apart.pop(inbound, None)
        if apart is None:
            group.absorb()
        elif apart in ("refused", "cancelled"):
            group.refused = apart == "refused"
            group.cancel(inbound)
        # Not in the context of the turn whose end, or pause, made room for this one: log lines and spans are of it.
        task = self._loop.create_task(self._run(group), context=self._context.copy())
        self.running[inbound] = RunningTurn(task, group, time.monotonic())
        self.in_flight += 1

    def _joining(self, group: TurnGroup) -> list[InboundRecord]:
        """The turns that wait in a group's conversation and are answered together with it from now on."""
        lane, joined = group.turns[0].lane, list[InboundRecord]()
        while (turn := self._lanes.first_waiting(lane)) is not None and turn not in self._apart:
            if not joins((*group.turns, *joined), turn, self._handler.when_busy):
                break
            joined.append(self._lanes.join(lane))
        self.in_flight += len(joined)
        return joined

    async def _run(self, group: TurnGroup) -> None:
        first = group.turns[0]
        try:
            with Processing(group.turns[-1], self._settings.group) as processing:
                publications = await self._answer(group)
                self._publish(group.turns, publications)
                processing.ended(publications)
        finally:
            self._held_bytes -= sum(turn.size for turn in group.turns)
            self.in_flight -= len(group.turns)
            del self.running[first]
            self._lanes.finish(first.lane)
            self._start_unpermitted(first.lane)
            self.start_ready()

    async def _answer(self, group: TurnGroup) -> Sequence[Publication]:
        try:
            return await self._handler.answer(group)
        except MISTAKES as error:
            # Ours or a user's mistake: the record must neither hold its partition for ever nor be lost.
            raise_if_ours(error)
            first = group.turns[0]
            log.exception("turn.handler_error", partition=first.partition, offset=first.offset)
            failure = Failure(Reason.HANDLER_ERROR, f"{type(error).__name__}: {error}")
            return [Publication(None, failure, "", self._failed)] * len(group.turns)

    def _publish(self, turns: Sequence[InboundRecord], publications: Sequence[Publication]) -> None:
        records = list[OutboundRecord]()
        for inbound, publication in zip(turns, publications, strict=True):
            records += outbound_records(inbound, publication, self._topics, self._dead_letters, self._worker_id, _now)
            self.counts.count(publication)
        spans = sending_spans(records)

        def acknowledged() -> None:
            for inbound in turns:
                inbound.ledger.done(inbound.offset)
            for span in spans:
                span.end()

        if records:
            self._outbox.publish(records, acknowledged)
        else:
            acknowledged()

    # Rebalances and the end

    async def before_revoke(self) -> None:
        """A rebalance begins: nothing new starts, and what is nearly done may finish."""
        self.hold()
        await self.drain(REBALANCE_DRAIN_S)
        try:
            await asyncio.wait_for(self._outbox.flushed(), REBALANCE_DRAIN_S)
        except TimeoutError:
            log.warning("rebalance.unpublished", records=self._outbox.waiting)

    def after_rebalance(self, lost: set[int]) -> None:
        """The rebalance is over: turns of partitions that went are somebody else's now."""
        self.forget(lambda inbound: inbound.partition in lost)
        for inbound, running in list(self.running.items()):
            if inbound.partition in lost:
                running.task.cancel()
        self._on_hold = False
        for inbound in tuple(self._apart):
            self._start_unpermitted(inbound.lane)
        self.start_ready()

    def hold(self) -> None:
        """Starts no turn from now on."""
        self._on_hold = True

    async def drain(self, timeout_s: float) -> None:
        """Waits so long for the turns in flight to end."""
        if tasks := [turn.task for turn in self.running.values()]:
            await asyncio.wait(tasks, timeout=timeout_s)

    def forget(self, unwanted: Callable[[InboundRecord], bool]) -> list[InboundRecord]:
        """Drops waiting turns; returns them."""
        forgotten = self._lanes.forget(unwanted)
        for inbound in forgotten:
            self._held_bytes -= inbound.size
            self._apart.pop(inbound, None)
        return forgotten

    # What others read of it

    @property
    def permits(self) -> int:
        """Turns that may be in flight at once."""
        return min(self._settings.concurrency, self._handler.permits())

    @property
    def holding_permits(self) -> int:
        """Turns in flight that hold a permit."""
        return self._lanes.in_flight

    @property
    def waiting(self) -> int:
        """Turns that have not begun."""
        return self._lanes.waiting

    def taken(self) -> Iterator[InboundRecord]:
        """The turns in flight."""
        return (inbound for running in self.running.values() for inbound in running.group.turns)

    def untaken(self) -> Iterator[InboundRecord]:
        """The turns that have not begun."""
        return self._lanes.untaken()
