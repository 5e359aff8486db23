"""The worker: one process's life, from joining the group to leaving it.

One turn's way is `_offer` (its conversation's lane), `_dispatch` (a permit is free), `_run` (its answer), the outbox
(acknowledged by all replicas), the ledger (done), the next commit.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from forebay.schemas import (
    Cluster,
    Command,
    Failure,
    Reason,
    Spending,
    Topics,
    WorkerState,
    carried,
    dead_letter_headers,
)
from forebay.telemetry.rate import Rate
from forebay.workers import metrics, spans
from forebay.workers.mistakes import MISTAKES, raise_if_ours
from forebay.workers.settings import WorkerSettings

from .alarms import PATIENCE, Lasting, Patience, Vitals, most_overdue
from .commands import Commands, Pauses
from .handler import Handler
from .inbound import InboundRecord
from .intake import Intake, IntakeTuning, within
from .lanes import Lanes
from .outbox import Outbox, Outgoing
from .permit import Permit
from .processing import Processing
from .publication import Publication
from .self_report import RATE_S, Identity, KnowsModels, Moment, Reports, Tally, state_of
from .watchdog import BEAT_S, Watchdog, stack_of_task

log = structlog.get_logger()

COMMIT_S = 0.25
"""Between two commits, in seconds: how much a crash may publish again (never call again: replies are stored)."""
REBALANCE_DRAIN_S = 1.0
"""How long a rebalance waits for turns in flight, in seconds: the whole group stands still meanwhile."""
_POLL_S = 0.5
_CARRIED_BYTES = 16 * 1024
"""Headers larger than this in all are not carried to a reply, which must fit its topic."""


def worker_name() -> str:
    """Host, process and a random part: unique, and tells an operator where to look."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


class Worker:
    """Answers the turns of its share of the partitions until told to stop."""

    def __init__(
        self,
        cluster: Cluster,
        settings: WorkerSettings,
        handler: Callable[[Worker], Handler],
        *,
        name: str | None = None,
        tuning: IntakeTuning = IntakeTuning(),
        patience: Patience = PATIENCE,
    ) -> None:
        """``handler`` builds what answers turns, given this worker (for its `send_delta`)."""
        self.name = name or worker_name()
        self._topics: Topics = cluster.topics
        self._settings = settings
        self._lanes: Lanes[InboundRecord] = Lanes(settings.concurrency, settings.weights())
        self._pauses = Pauses()
        self._intake = Intake(
            cluster,
            settings.group,
            self.name,
            most_held=settings.max_waiting,
            pauses=self._pauses,
            before_revoke=self._before_revoke,
            lost=self._lost,
            tuning=tuning,
        )
        self._outbox = Outbox(cluster, self.name)
        self._handler = handler(self)
        self._running: dict[InboundRecord, tuple[asyncio.Task[None], Permit]] = {}
        self._held_bytes = 0
        self._typical_bytes = 1024
        self._holding = False
        self._stop = asyncio.Event()
        self._room = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._watchdog = Watchdog(patience)
        self._began: dict[InboundRecord, float] = {}  # the turns in flight and when each began, oldest first
        self._can_answer, self._untracked = Lasting(), Lasting()
        self._publishing_since: float | None = None
        self._consumed = metrics.CONSUMED.labels("kafka", "poll", self._topics.requests, settings.group)
        self._identity = Identity(self.name, settings.group, settings.concurrency, datetime.now(UTC))
        self._tally, self._rate = Tally(), Rate(RATE_S)
        self._rate.note(0, self._loop.time())
        self._reports = Reports(cluster, self.name)
        self._commands = Commands(cluster, self.name, self._identity.started_at, self._obey)

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Works until `stop`, then drains. Raises what made going on impossible."""
        topics, tasks = self._topics, list[asyncio.Task[None]]()
        try:
            await self._outbox.start([topics.replies, topics.deltas, topics.dead_letters, topics.handoffs])
            await self._reports.start()
            await self._commands.start()
            await self._intake.start()
            log.info("worker.started", group=self._settings.group, concurrency=self._settings.concurrency)
            works = (self._take_in, self._commit, self._outbox.run, self._feel_pulse, self._intake.probe)
            for work in (*works, self._report, self._commands.run):
                tasks.append(asyncio.create_task(work(), name=f"worker.{work.__name__.strip('_')}"))
            tasks.append(asyncio.create_task(self._stop_wished(), name="worker.stop"))
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # a side task ends only by what it raises
            await self._drain(tasks[0])
        finally:
            await self._end([*tasks, *(task for task, _ in self._running.values())])

    def stop(self) -> None:
        """No new turns; those in flight may finish. Safe to call from a signal handler, and twice."""
        if not self._stop.is_set():
            log.info("worker.stopping", in_flight=len(self._running), waiting=self._lanes.waiting)
        self._stop.set()

    async def _stop_wished(self) -> None:
        await self._stop.wait()

    async def _drain(self, intake: asyncio.Task[None]) -> None:
        """Turns in flight finish within the bound; what waits goes back to Kafka by not being committed."""
        intake.cancel()
        self._intake.put_back(self._forget(self._intake.can_put_back))
        self._lanes.forget(lambda _: True)
        tasks = [task for task, _ in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.drain_s)
        left = len(self._running)
        leaving = asyncio.create_task(self._reports.leave())  # where Kafka is away, both wait for it at once
        try:
            await asyncio.wait_for(self._outbox.flushed(), 5.0)
        except TimeoutError:
            log.warning("drain.unpublished", records=self._outbox.waiting)
        await leaving
        log.info("worker.drained", unfinished=left)

    async def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        self._holding = True  # the end of one turn must not be the beginning of the next
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await within(self._handler.close(), "store")
        await self.close()
        log.info("worker.stopped")

    async def close(self) -> None:
        """Leaves the group and closes the connections; `run` does it by itself."""
        await self._intake.stop()
        await asyncio.gather(
            within(self._outbox.stop(), "producer"),
            within(self._reports.stop(), "reports"),
            within(self._commands.stop(), "commands"),
        )

    # -- one turn's way ----------------------------------------------------------------------------------------------

    async def _take_in(self) -> None:
        while True:
            if self._crowded:
                # A full house is polled with no room only when it lasts: pausing throws away what was fetched.
                self._room.clear()
                try:
                    async with asyncio.timeout(_POLL_S):
                        await self._room.wait()
                    continue
                except TimeoutError:
                    await self._intake.poll(0, 0.0)
                continue
            polled = await self._intake.poll(self._appetite, _POLL_S)
            for inbound in polled:
                self._offer(inbound)
            if polled:
                self._consumed.inc(len(polled))
                self._typical_bytes = sum(inbound.size for inbound in polled) // len(polled) + 1
            self._dispatch()

    @property
    def _appetite(self) -> int:
        """Turns to ask for: enough for every permit, and no more than the memory left has room for."""
        left = self._settings.max_waiting_mib * 1024 * 1024 - self._held_bytes
        return max(1, min(max(100, self._settings.concurrency), left // self._typical_bytes))

    @property
    def _crowded(self) -> bool:
        """Memory is at its bound: looking far ahead lets others pass a flood at the front of a partition.

        While nobody can answer, what is in memory is enough: turns wait in Kafka.
        """
        lanes, settings = self._lanes, self._settings
        return (
            (lanes.ready >= settings.concurrency and self._handler.ready() is not None)
            or lanes.waiting + len(self._running) >= settings.max_waiting
            or self._held_bytes >= settings.max_waiting_mib * 1024 * 1024
        )

    def _offer(self, inbound: InboundRecord) -> None:
        self._held_bytes += inbound.size
        # By the age of its record: what a rebalance brings came here all at once. Clocks differ, so within reason.
        waited_s = min(max(0.0, time.time() - inbound.timestamp / 1000), self._settings.turn_ttl_s)
        self._lanes.offer(inbound.lane, inbound, self._loop.time() - waited_s, inbound.sender)

    def _dispatch(self) -> None:
        """Starts turns while there are permits, conversations that are ready, and no rebalance under way."""
        self._lanes.permits = min(self._settings.concurrency, self._handler.permits())
        while not self._holding and (inbound := self._lanes.take()) is not None:
            if running := self._running.get(inbound):
                running[1].granted()
                continue
            permit = Permit(self._lanes, inbound.lane, self._dispatch)
            # Not in the context of the turn whose end, or pause, made room for this one: log lines and spans are of it.
            task = self._loop.create_task(self._run(inbound, permit), context=self._context.copy())
            self._running[inbound] = (task, permit)
        if not self._room.is_set() and not self._crowded:
            self._room.set()

    async def _run(self, inbound: InboundRecord, permit: Permit) -> None:
        self._began[inbound] = time.monotonic()
        try:
            with Processing(inbound, self._settings.group) as processing:
                try:
                    answer = await self._handler.answer(inbound, permit)
                except MISTAKES as error:
                    # Ours or a user's mistake: the record must neither hold its partition for ever nor be lost.
                    raise_if_ours(error)
                    log.exception("turn.handler_error", partition=inbound.partition, offset=inbound.offset)
                    failure = Failure(Reason.HANDLER_ERROR, f"{type(error).__name__}: {error}")
                    answer = Publication(None, failure, "", "failed")
                self._publish(inbound, answer)
                processing.ended(answer)
        finally:
            self._held_bytes -= inbound.size
            del self._running[inbound], self._began[inbound]
            self._lanes.finish(inbound.lane)
            self._dispatch()

    def _publish(self, inbound: InboundRecord, answer: Publication) -> None:
        outgoing: list[Outgoing] = []
        if answer.failure is not None:
            metrics.DEAD_LETTERS.labels(answer.failure.reason.value).inc()
            self._tally.dead_letters[answer.failure.reason.value] += 1
            outgoing.append(self._dead_letter(inbound, answer.failure))
        if answer.reply is not None:
            headers = carried(inbound.headers) if inbound.headers else ()
            if sum(len(value) for _, value in headers) > _CARRIED_BYTES:
                headers = ()
            headers += answer.headers
            outgoing.append(Outgoing(self._topics.replies, answer.conversation_id.encode(), answer.reply, headers))
        if answer.handoff is not None:
            outgoing.append(Outgoing(self._topics.handoffs, answer.conversation_id.encode(), answer.handoff))
        metrics.TURNS.labels(answer.outcome).inc()
        self._tally.outcomes[answer.outcome] += 1
        sending = spans.send(outgoing)

        def acknowledged() -> None:
            inbound.ledger.done(inbound.offset)
            for span in sending:
                span.end()

        self._outbox.publish(outgoing, acknowledged)

    def _dead_letter(self, inbound: InboundRecord, failure: Failure) -> Outgoing:
        headers = dead_letter_headers(
            inbound.headers,
            failure,
            topic=inbound.topic,
            partition=inbound.partition,
            offset=inbound.offset,
            timestamp=inbound.timestamp,
            failed_at=datetime.now(UTC),
            worker=self.name,
        )
        return Outgoing(self._topics.dead_letters, inbound.key, inbound.value, headers)

    def send_delta(self, key: bytes, value: bytes) -> None:
        """Publishes a fragment of a streamed turn: a lost one is not missed, for the final reply has the whole text."""
        self._outbox.publish([Outgoing(self._topics.deltas, key, value)], lambda: None)

    # -- around it ---------------------------------------------------------------------------------------------------

    async def _before_revoke(self) -> None:
        """A rebalance begins: nothing new starts, and what is nearly done may finish."""
        self._holding = True
        tasks = [task for task, _ in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=REBALANCE_DRAIN_S)
        try:
            await asyncio.wait_for(self._outbox.flushed(), REBALANCE_DRAIN_S)
        except TimeoutError:
            log.warning("rebalance.unpublished", records=self._outbox.waiting)

    def _lost(self, partitions: set[int]) -> None:
        """The rebalance is over: turns of partitions that went are somebody else's now."""
        self._forget(lambda inbound: inbound.partition in partitions)
        for inbound, (task, _) in list(self._running.items()):
            if inbound.partition in partitions:
                task.cancel()
        self._holding = False
        self._dispatch()

    def _forget(self, unwanted: Callable[[InboundRecord], bool]) -> list[InboundRecord]:
        """Drops waiting turns; returns them."""
        forgotten: list[InboundRecord] = []

        def gone(inbound: InboundRecord) -> bool:
            if unwanted(inbound):
                forgotten.append(inbound)
                return True
            return False

        self._lanes.forget(gone)
        self._held_bytes -= sum(inbound.size for inbound in forgotten)
        return forgotten

    def _obey(self, command: Command) -> None:
        """An operator's word. What a pause finds waiting goes back to Kafka; what has begun ends as always."""
        if command.command == "drain":
            self.stop()
            return
        self._pauses.obey(command)
        pauses, intake = self._pauses, self._intake
        intake.put_back(self._forget(lambda turn: pauses.paused(turn.partition) and intake.can_put_back(turn)))
        self._dispatch()

    async def _report(self) -> None:
        await self._reports.run(self.state)

    def state(self) -> WorkerState:
        """This worker at this moment, as it reports itself."""
        handler, outcomes = self._handler, self._tally.outcomes
        known = handler if isinstance(handler, KnowsModels) else None
        moment = Moment(
            joined=self._intake.joined,
            stopping=self._stop.is_set(),
            trouble=self.ready(),
            alarm=self.live(),
            permits=min(self._settings.concurrency, handler.permits()),
            ledgers=self._intake.ledgers,
            waiting=self._lanes.untaken(),
            running=self._running,
            pauses=self._pauses,
            tally=self._tally,
            answered_a_second=self._rate.note(outcomes.total(), self._loop.time()),
            models=known.models() if known else (),
            spending=known.spending() if known else Spending(),
        )
        return state_of(self._identity, moment, datetime.now(UTC))

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_S)
            await self._intake.commit()

    async def _feel_pulse(self) -> None:
        """Feels the pulse of the event loop and of all that must not stand still, for `/livez`, `/readyz` and the metrics."""
        with self._watchdog:
            while True:
                due = self._loop.time() + BEAT_S
                await asyncio.sleep(BEAT_S)
                metrics.LOOP_LAG.set(self._loop.time() - due)
                if not self._outbox.waiting:
                    self._publishing_since = None
                elif self._publishing_since is None:
                    self._publishing_since = self._loop.time()
                self._watchdog.beat(self._vitals(time.monotonic()))

    def _vitals(self, now: float) -> Vitals:
        intake, settings = self._intake, self._settings
        self._can_answer.note(self._handler.ready() is None, now)
        self._untracked.note(intake.held > self._lanes.waiting + len(self._running) + self._outbox.waiting, now)
        oldest, overdue = next(iter(self._began.values()), now), None
        if (can_answer_s := self._can_answer.seconds(now)) > self._watchdog.patience.turn_s:
            overdue = most_overdue(
                self._began, now, time.time(), turn_ttl_s=settings.turn_ttl_s, call_s=settings.call_timeout_s
            )
        if overdue is not None:
            overdue = replace(overdue, stack=stack_of_task(self._running[overdue.inbound][0]))
        return Vitals(
            draining=self._stop.is_set(),
            kafka_answers_s=intake.answering.seconds(now),
            can_answer_s=can_answer_s,
            oldest_turn_s=now - oldest,
            overdue=overdue,
            uncommitted_s=intake.uncommitted.seconds(now),
            untracked_s=self._untracked.seconds(now),
            outside_s=intake.outside.seconds(now),
            unsettled_s=intake.unsettled.seconds(now),
            unpolled_s=now - intake.polled_at,
        )

    def live(self) -> str | None:
        """Why this process should be restarted, or None. May be asked from any thread."""
        return self._watchdog.live()

    def ready(self) -> str | None:
        """Why this worker does no work now, or None."""
        if self._stop.is_set():
            return "stopping"
        if not self._intake.joined:
            return "not in the consumer group yet"
        if trouble := self._intake.trouble or self._handler.ready():
            return trouble
        if self._publishing_since is not None and self._loop.time() - self._publishing_since > 5:
            return f"Kafka has not acknowledged a reply for {self._loop.time() - self._publishing_since:.0f} s"
        return None

    def refresh_metrics(self) -> None:
        """Sets the gauges to what is true now."""
        metrics.IN_FLIGHT.set(self._lanes.in_flight)
        metrics.WAITING.set(self._lanes.waiting)
        oldest = min((inbound.timestamp for inbound in self._lanes.untaken()), default=None)
        metrics.OLDEST_WAITING.set(0.0 if oldest is None else max(0.0, time.time() - oldest / 1000))
        metrics.UNPUBLISHED.set(self._outbox.waiting)
        metrics.PARTITIONS.set(len(self._intake.partitions))
