"""The worker: one process's life, from joining the group to leaving it. `dispatch` has one turn's way."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial

import structlog

from forebay.schemas import Cluster, Command, WorkerState
from forebay.workers.settings import WorkerSettings

from .alarms import THRESHOLDS, Thresholds
from .cancellation_listener import CancellationListener
from .closing import close_within_bounds
from .command_listener import CommandListener
from .dispatch import Dispatch
from .handler import Handler, SendDelta
from .heartbeat import Heartbeat
from .intake import Intake, IntakeTuning
from .outbox import Outbox
from .pauses import Pauses
from .self_report import SelfReport, WorkerIdentity
from .source import Source, turns_of
from .state_publisher import StatePublisher
from .watchdog import Watchdog

log = structlog.get_logger()

_POLL_S = 0.5
_FLUSH_S = 5.0
"""How long the last replies may take to be acknowledged, in seconds."""
_UNACKNOWLEDGED_S = 5.0
"""After how many seconds without an acknowledgement a worker is not ready."""


def worker_name() -> str:
    """Host, process and a random part: unique, and tells an operator where to look."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


class Worker:
    """Answers the turns of its share of the partitions until told to stop."""

    def __init__(
        self,
        cluster: Cluster,
        settings: WorkerSettings,
        handler: Callable[[SendDelta], Handler],
        *,
        name: str | None = None,
        tuning: IntakeTuning = IntakeTuning(),
        thresholds: Thresholds = THRESHOLDS,
        source: Source | None = None,
    ) -> None:
        """``handler`` builds what answers turns, given what publishes their deltas. ``source`` is for other records than
        turns.
        """
        self._source = source = source or turns_of(cluster.topics)
        self.name = name or worker_name()
        self._settings = settings
        self._stopping = asyncio.Event()
        self._pauses = Pauses()
        self._outbox = Outbox(cluster, self.name)
        self._handler = handler(partial(self._outbox.send, cluster.topics.deltas))
        self._dispatch = Dispatch(settings, cluster.topics, source, self._handler, self._outbox, self.name)
        self._intake = Intake(
            cluster,
            source,
            settings.group,
            self.name,
            most_held=settings.max_waiting,
            pauses=self._pauses,
            before_revoke=self._dispatch.before_revoke,
            after_rebalance=self._dispatch.after_rebalance,
            tuning=tuning,
        )
        self._watchdog = Watchdog(thresholds)
        self._heartbeat = Heartbeat(
            settings, self._watchdog, self._intake, self._dispatch, self._outbox, self._handler, self._stopping
        )
        identity = WorkerIdentity(self.name, settings.group, settings.concurrency, datetime.now(UTC))
        self._self_report = SelfReport(
            identity, self._intake, self._dispatch, self._outbox, self._handler, self._pauses
        )
        self._states = StatePublisher(cluster, self.name)
        self._cancellations = CancellationListener(cluster, self.name, self._dispatch.take_back)
        self._commands = CommandListener(cluster, self.name, identity.started_at, self._obey, everybody=source.turns)

    async def run(self) -> None:
        """Works until `stop`, then drains. Raises what made going on impossible."""
        tasks = list[asyncio.Task[None]]()
        try:
            await self._start()
            tasks += (asyncio.create_task(work, name=f"worker.{name}") for name, work in self._work().items())
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # all but the last end only by what they raise
            tasks[0].cancel()
            await self._drain()
        finally:
            await self._end(tasks)

    def _work(self) -> dict[str, Coroutine[None, None, None]]:
        """What goes on side by side, by name; the intake first."""
        work = {
            "intake": self._poll(),
            "commit": self._intake.commits.run(),
            "outbox": self._outbox.run(),
            "heartbeat": self._heartbeat.run(),
            "probe": self._intake.probe.run(),
            "commands": self._commands.run(),
            "stop": self._until_stop(),
        }
        if self._source.turns:
            work |= {
                "report": self._states.run(self.state),
                "cancellations": self._cancellations.run(),
                "expiry": self._dispatch.expire(),
            }
        return work

    def stop(self) -> None:
        """No new turns; those in flight may finish. Safe to call from a signal handler, and twice."""
        if not self._stopping.is_set():
            log.info("worker.stopping", in_flight=self._dispatch.in_flight, waiting=self._dispatch.waiting)
        self._stopping.set()

    async def close(self) -> None:
        """Leaves the group and closes the connections; `run` does it by itself."""
        await self._intake.stop()
        await asyncio.gather(
            close_within_bounds(self._outbox.stop(), "producer"),
            close_within_bounds(self._states.stop(), "reports"),
            close_within_bounds(self._commands.stop(), "commands"),
            close_within_bounds(self._cancellations.stop(), "cancellations"),
        )

    async def _start(self) -> None:
        settings, source = self._settings, self._source
        await self._outbox.start([source.dead_letters, *source.publishes])
        if source.turns:
            await self._states.start()
            await asyncio.gather(self._commands.start(), self._cancellations.start())
        else:
            await self._commands.start()
        await self._intake.start()
        log.info("worker.started", group=settings.group, concurrency=settings.concurrency)

    async def _poll(self) -> None:
        while True:
            if await self._dispatch.has_room(_POLL_S):
                self._dispatch.accept(await self._intake.poll(self._dispatch.appetite, _POLL_S))
            else:
                # Polled with no room only when that lasts: pausing throws away what was fetched.
                await self._intake.poll(0, 0.0)

    async def _until_stop(self) -> None:
        await self._stopping.wait()

    async def _drain(self) -> None:
        """Turns in flight finish within the bound; what waits goes back to Kafka by not being committed."""
        self._intake.put_back(self._dispatch.forget(self._intake.can_put_back))
        self._dispatch.forget(lambda _: True)
        await self._dispatch.drain(self._settings.drain_s)
        left = self._dispatch.in_flight
        # Where Kafka is away, both wait for it at once.
        leaving = asyncio.create_task(self._states.leave()) if self._source.turns else None
        try:
            await asyncio.wait_for(self._outbox.flushed(), _FLUSH_S)
        except TimeoutError:
            log.warning("drain.unpublished", records=self._outbox.waiting)
        if leaving is not None:
            await leaving
        log.info("worker.drained", unfinished=left)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        self._dispatch.hold()  # the end of one turn must not be the beginning of the next
        tasks = [*tasks, *(turn.task for turn in self._dispatch.running.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await close_within_bounds(self._handler.close(), "store")
        await self.close()
        log.info("worker.stopped")

    def _obey(self, command: Command) -> None:
        """An operator's command. What a pause finds waiting goes back to Kafka; what has begun ends as always."""
        if command.command == "drain":
            self.stop()
            return
        if command.conversation_id is not None:
            self._handler.drop(command.conversation_id)
            return
        self._pauses.obey(command)
        pauses, intake = self._pauses, self._intake
        intake.put_back(self._dispatch.forget(lambda turn: pauses.paused(turn.partition) and intake.can_put_back(turn)))
        self._dispatch.start_ready()

    # What others ask

    def live(self) -> str | None:
        """Why this process should be restarted, or None. May be asked from any thread."""
        return self._watchdog.live()

    def ready(self) -> str | None:
        """Why this worker does no work now, or None."""
        if self._stopping.is_set():
            return "stopping"
        if not self._intake.rebalances.joined:
            return "not in the consumer group yet"
        if trouble := self._intake.probe.trouble or self._handler.ready():
            return trouble
        if (seconds := self._outbox.unacknowledged_s(asyncio.get_running_loop().time())) > _UNACKNOWLEDGED_S:
            return f"Kafka has not acknowledged a reply for {seconds:.0f} s"
        return None

    def state(self) -> WorkerState:
        """This worker at this moment, as it reports itself."""
        return self._self_report.state(stopping=self._stopping.is_set(), trouble=self.ready(), alarm=self.live())

    def refresh_metrics(self) -> None:
        """Sets the gauges to what is true now."""
        self._self_report.refresh_metrics()
