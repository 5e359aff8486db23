"""The audit: who did what, on what, and what came of it. One log line for each, and the latest for the console to show."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog

from forebay.schemas import Command

log = structlog.get_logger()

SHOWN = 200


class Action(NamedTuple):
    """One thing that somebody did."""

    at: datetime
    who: str
    what: str
    on: str
    outcome: str
    source: str
    """``topic``: from ``chat.commands``, whoever said it and wherever. ``gateway``: remembered by this gateway alone."""


class Audit:
    """What was done through this gateway since it started."""

    def __init__(self) -> None:
        self._actions: deque[Action] = deque(maxlen=SHOWN)

    def note(self, who: str, what: str, on: str, outcome: str, *, shown: bool = True, **more: Any) -> None:
        """Writes the log line; ``shown`` is false for what the topic of commands tells."""
        log.info("console.action", who=who, what=what, on=on, outcome=outcome, **more)
        if shown:
            self._actions.append(Action(datetime.now(UTC), who, what, on, outcome, "gateway"))

    def latest(self, commands: Iterable[tuple[Command, str]] = ()) -> list[Action]:
        """The newest first, with commands and the worker that each was said to."""
        said = [_said(command, worker) for command, worker in commands]
        return sorted([*self._actions, *said], key=lambda action: action.at, reverse=True)[:SHOWN]


def target(worker: str, partition: int | None) -> str:
    """What a command is said to, in words."""
    whom = "all workers" if worker == "*" else f"worker {worker}"
    return whom if partition is None else f"partition {partition} of {whom}"


def _said(command: Command, worker: str) -> Action:
    return Action(
        command.issued_at,
        command.issued_by or "(nobody)",
        command.command,
        target(worker, command.partition),
        "said",
        "topic",
    )
