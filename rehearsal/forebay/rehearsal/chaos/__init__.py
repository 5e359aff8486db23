"""Chaos: a real Kafka, three workers and a model API with faults, and everything that can go wrong with them.

The seed alone decides what is said and what breaks after how many turns (`script`, `schedule`); what became of it is
counted from the topics themselves (`count`). Run it with ``python -m forebay.rehearsal.chaos``.
"""

from __future__ import annotations

from .chaos_run import ChaosOutcome, SeededRun, run
from .counts import Counts
from .schedule import EventKind, ScheduledEvent, schedule
from .script import Line, Poison, script
from .worker_kinds import ENGINES, WorkerKind

__all__ = [
    "ENGINES",
    "ChaosOutcome",
    "Counts",
    "EventKind",
    "Line",
    "Poison",
    "ScheduledEvent",
    "SeededRun",
    "WorkerKind",
    "run",
    "schedule",
    "script",
]
