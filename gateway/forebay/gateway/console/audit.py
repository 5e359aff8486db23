"""The audit: who did what, on what, with which outcome. Each action is a log line; the console shows the latest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog

from forebay.schemas import Command

log = structlog.get_logger()

SHOWN = 200


class AuditEntry(NamedTuple):
    """One action of an operator."""

    at: datetime
    who: str
    what: str
    on: str
    outcome: str
    source: str
    """``topic``: from ``chat.commands``, sent from anywhere. ``gateway``: known to this gateway only."""


class Audit:
    """The actions through this gateway since it started."""

    def __init__(self) -> None:
        self._actions: deque[AuditEntry] = deque(maxlen=SHOWN)

    def note(self, who: str, what: str, on: str, outcome: str, *, shown: bool = True, **more: Any) -> None:
        """Logs an action; ``shown`` is false for commands, which are shown from their topic."""
        log.info("console.action", who=who, what=what, on=on, outcome=outcome, **more)
        if shown:
            self._actions.append(AuditEntry(datetime.now(UTC), who, what, on, outcome, "gateway"))

    def latest(self, commands: Iterable[tuple[Command, str]] = ()) -> list[AuditEntry]:
        """The latest actions, newest first, together with commands and the worker that each was sent to."""
        said = [_said(command, worker) for command, worker in commands]
        return sorted([*self._actions, *said], key=lambda action: action.at, reverse=True)[:SHOWN]


def target(worker: str, partition: int | None) -> str:
    """The target of a command, in words."""
    whom = "all workers" if worker == "*" else f"worker {worker}"
    return whom if partition is None else f"partition {partition} of {whom}"


def _said(command: Command, worker: str) -> AuditEntry:
    return AuditEntry(
        command.issued_at,
        command.issued_by or "(nobody)",
        command.command,
        target(worker, command.partition),
        "said",
        "topic",
    )
