"""Chaos: a real Kafka, three workers and a model API with faults, and everything that can go wrong with them.

The seed alone decides what is said and what breaks after how many turns (`script`, `schedule`); what became of it is
counted from the topics themselves (`count`). Run it with ``python -m forebay.rehearsal.chaos``.
"""

from __future__ import annotations

from .chaos_run import Outcome, Rehearsal, run
from .counts import Counts
from .schedule import Event, Kind, schedule
from .script import Line, Poison, script
from .worker_kinds import ENGINES, Engine

__all__ = [
    "ENGINES",
    "Counts",
    "Engine",
    "Event",
    "Kind",
    "Line",
    "Outcome",
    "Poison",
    "Rehearsal",
    "run",
    "schedule",
    "script",
]
