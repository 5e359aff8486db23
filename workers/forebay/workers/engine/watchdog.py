"""The watchdog: notices what only a restart repairs, names it for ``/livez``, and logs where it hangs.

At every beat of its loop a worker gives its `Readings`, which are judged at once. A thread watches the beat itself: a
blocked loop can do neither.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any, Self, get_args

import structlog

from forebay.workers import metrics

from .alarms import THRESHOLDS, Alarm, Code, Readings, Thresholds, alarms

log = structlog.get_logger()

BEAT_S = 0.5
"""Between two beats of the loop, and between two looks at them, in seconds."""
REPEAT_S = 30.0
"""Between two log lines about the same alarm, in seconds."""
_FRAMES = 30
"""Innermost frames of a stack that are logged."""

_EVENTS: dict[Code, str] = {
    "loop_blocked": "loop.blocked",
    "turn_stuck": "turn.stuck",
    "commits_frozen": "commits.frozen",
    "left_group": "group.left",
}

_TOLD_BY_LOOP: tuple[Code, ...] = ("turn_stuck", "commits_frozen", "left_group")

for _code in get_args(Code):
    metrics.ALARM.labels(_code).set(0)


class StallTimer:
    """How long a loop has stood still, measured by a thread that may itself have slept too long.

    Such a sleep counts only in part: in a process that was stopped whole (SIGSTOP, a suspended machine) no loop was blocked.
    """

    def __init__(self) -> None:
        self._beats = -1
        self._still_s = 0.0

    def measure(self, beats: int, slept_s: float) -> float:
        """Seconds without a beat; ``beats`` counts all of them so far, ``slept_s`` is the time since the last measurement."""
        self._still_s = 0.0 if beats != self._beats else self._still_s + min(slept_s, 2 * BEAT_S)
        self._beats = beats
        return self._still_s


class Watchdog:
    """Watches the event loop in whose thread it is entered, and what that loop tells it."""

    def __init__(self, thresholds: Thresholds = THRESHOLDS) -> None:
        self.thresholds = thresholds
        self._told: tuple[Alarm, ...] = ()
        self._loop_alarm: Alarm | None = None
        self._beats = 0
        self._listened_at = math.inf  # in seconds of `time.monotonic`; nobody listens
        self._logged: dict[Code, tuple[float, float]] = {}  # when an alarm began, and when it was logged last
        self._loop_thread = 0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._loop_thread = threading.get_ident()
        self._listened_at = time.monotonic()
        # In a copy of the context, so that its log lines name the worker as all others do.
        listen = contextvars.copy_context().run
        threading.Thread(target=listen, args=(self._listen,), name="forebay-watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def beat(self, readings: Readings) -> None:
        """The loop goes on, and this is how its worker is."""
        self._beats += 1
        self._told = alarms(readings, self.thresholds)
        metrics.OLDEST_TURN.set(readings.oldest_turn_s)
        metrics.COMMIT_AGE.set(readings.uncommitted_s)
        metrics.GROUP_MEMBER.set(not (readings.outside_s or readings.unsettled_s))
        for code in _TOLD_BY_LOOP:
            self._tell(code, next((alarm for alarm in self._told if alarm.code == code), None))

    def live(self) -> str | None:
        """Why this process should be restarted, or None. May be asked from any thread, and never waits."""
        loop, silent_s = self._loop_alarm, time.monotonic() - self._listened_at
        if silent_s > self.thresholds.loop_s and not self._ended.is_set():
            loop = Alarm(
                "loop_blocked", f"the process, or the writing of its log, has stood still for {silent_s:.0f} s"
            )
        found = self._told if loop is None else (loop, *self._told)
        return "; ".join(f"{alarm.code}: {alarm.says}" for alarm in found) or None

    def _listen(self) -> None:
        stall, at = StallTimer(), time.monotonic()
        while not self._ended.wait(BEAT_S):
            before, at = at, time.monotonic()
            self._listened_at = at
            try:
                self._judge_loop(stall.measure(self._beats, at - before), at - before)
            except Exception:
                log.exception("watchdog.failed")

    def _judge_loop(self, still_s: float, slept_s: float) -> None:
        stack_s, blocked = self.thresholds.stack_s, None
        if still_s > stack_s:
            stack = stack_of_thread(self._loop_thread)
            blocked = Alarm("loop_blocked", f"the event loop has stood still for {still_s:.0f} s", {"stack": stack})
            metrics.LOOP_LAG.set(still_s)
        # Before anything is logged: a full pipe holds up whoever logs, and may be what holds up the loop.
        self._loop_alarm = blocked if still_s > self.thresholds.loop_s else None
        if slept_s > stack_s + BEAT_S:
            # Not even threads ran: native code kept the interpreter's lock, or the process was stopped.
            metrics.LOOP_BLOCKED.inc()
            log.warning("process.stalled", seconds=round(slept_s, 1), stack=stack_of_thread(self._loop_thread))
        if blocked and "loop_blocked" not in self._logged:
            metrics.LOOP_BLOCKED.inc()
        self._tell("loop_blocked", blocked)

    def _tell(self, code: Code, alarm: Alarm | None) -> None:
        """Logs an alarm when it begins, again while it lasts, and when it is over."""
        now, logged = time.monotonic(), self._logged.get(code)
        if alarm is not None and (logged is None or now - logged[1] >= REPEAT_S):
            self._logged[code] = (logged[0] if logged else now, now)
            metrics.ALARM.labels(code).set(1)
            log.error(_EVENTS[code], reason=alarm.says, **alarm.fields)
        elif alarm is None and logged is not None:
            del self._logged[code]
            metrics.ALARM.labels(code).set(0)
            log.info(f"{_EVENTS[code]}.over", seconds=round(now - logged[0], 1))


def stack_of_thread(thread_id: int) -> str:
    """What a thread does at this moment, outermost call first."""
    frame = sys._current_frames().get(thread_id)
    return "" if frame is None else "".join(traceback.format_stack(frame, _FRAMES))


def stack_of_task(task: asyncio.Task[Any]) -> str:
    """Where a task waits, outermost call first. `Task.get_stack` has only the first of these frames."""
    frames: list[tuple[FrameType, int]] = []
    awaited: Any = task.get_coro()
    while (frame := getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)) is not None:
        frames.append((frame, frame.f_lineno))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return "".join(traceback.StackSummary.extract(iter(frames)).format())
