"""Heartbeat: twice a second the event loop tells the watchdog that it goes on, and how the worker is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from forebay.workers import metrics
from forebay.workers.settings import WorkerSettings

from .alarms import Readings, TurnInFlight, most_overdue
from .dispatch import Dispatch
from .handler import Handler
from .intake import Intake
from .outbox import Outbox
from .since import Since
from .watchdog import BEAT_S, Watchdog, stack_of_task


class Heartbeat:
    """Looks at all that must not stand still, for ``/livez`` and the metrics."""

    def __init__(
        self,
        settings: WorkerSettings,
        watchdog: Watchdog,
        intake: Intake,
        dispatch: Dispatch,
        outbox: Outbox,
        handler: Handler,
        stopping: asyncio.Event,
    ) -> None:
        self._settings, self._watchdog = settings, watchdog
        self._intake, self._dispatch, self._outbox, self._handler = intake, dispatch, outbox, handler
        self._stopping = stopping
        self._can_answer, self._untracked = Since(), Since()

    async def run(self) -> None:
        """Beats until cancelled."""
        loop = asyncio.get_running_loop()
        with self._watchdog:
            while True:
                due = loop.time() + BEAT_S
                await asyncio.sleep(BEAT_S)
                metrics.LOOP_LAG.set(loop.time() - due)
                self._watchdog.beat(self._readings(time.monotonic()))

    def _readings(self, now: float) -> Readings:
        intake, dispatch = self._intake, self._dispatch
        self._can_answer.note(self._handler.ready() is None, now)
        self._untracked.note(intake.held > dispatch.waiting + dispatch.in_flight + self._outbox.waiting, now)
        can_answer_s = self._can_answer.seconds(now)
        return Readings(
            draining=self._stopping.is_set(),
            kafka_answers_s=intake.probe.answering.seconds(now),
            can_answer_s=can_answer_s,
            oldest_turn_s=now - next((turn.began for turn in dispatch.running.values()), now),
            overdue=self._overdue(now) if can_answer_s > self._watchdog.thresholds.turn_s else None,
            uncommitted_s=intake.commits.outstanding.seconds(now),
            untracked_s=self._untracked.seconds(now),
            outside_s=intake.probe.outside.seconds(now),
            unsettled_s=intake.rebalances.unsettled.seconds(now),
            unpolled_s=now - intake.polled_at,
        )

    def _overdue(self, now: float) -> TurnInFlight | None:
        running, settings = self._dispatch.running, self._settings
        began = ((inbound, turn.began) for inbound, turn in running.items())
        overdue = most_overdue(began, now, time.time(), turn_ttl_s=settings.turn_ttl_s, call_s=settings.call_timeout_s)
        return overdue and replace(overdue, stack=stack_of_task(running[overdue.inbound].task))
