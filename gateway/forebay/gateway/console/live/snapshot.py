"""A snapshot: the view of the fleet as JSON for the console's page. Pure.

Partitions are lists, not objects, since the page gets them every second: 50 workers with 96 partitions are 40 KiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forebay.operations.fleet_totals import models_of, spending_of
from forebay.operations.fleet_view import FleetView, PartitionView
from forebay.schemas import WorkerState

from .timeline import Point


def snapshot_of(view: FleetView, partitions: Sequence[PartitionView], point: Point) -> dict[str, Any]:
    """The snapshot, without the state of the gateway itself."""
    active = [state for state in view.states if state.worker_id not in view.silent]
    return {
        "at": round(view.now, 3),
        "now": {name: _rounded(value) for name, value in point._asdict().items()},
        "turns": view.replies.turns,
        "outcomes": view.replies.outcomes,
        "errors": view.replies.errors,
        "unknown_partitions": sum(partition.waiting is None for partition in partitions),
        "partitions": [_partition(partition) for partition in partitions],
        "workers": [_worker(state, view) for state in view.states],
        "models": models_of(active),
        "spending": spending_of(state.spending for state in view.states if state.group == view.group),
    }


def _partition(partition: PartitionView) -> list[Any]:
    age = partition.oldest
    return [
        partition.number,
        partition.log_end,
        partition.waiting,
        partition.in_flight,
        None if age is None else round(age.seconds, 1),
        age is not None and age.at_least,
        partition.worker,
        partition.paused,
    ]


def _worker(state: WorkerState, view: FleetView) -> dict[str, Any]:
    return {
        "id": state.worker_id,
        "version": state.version,
        "host": state.host,
        "pid": state.pid,
        "group": state.group,
        "foreign": state.group != view.group,
        "state": state.state,
        "silent": state.worker_id in view.silent,
        "age_s": round(max(0.0, view.now - state.reported_at.timestamp()), 1),
        "up_s": round(max(0.0, view.now - state.started_at.timestamp())),
        "trouble": state.trouble,
        "partitions": [[one.partition, one.waiting, one.in_flight, one.paused] for one in state.partitions],
        "in_flight": state.in_flight,
        "waiting": state.waiting,
        "permits": state.permits,
        "concurrency": state.concurrency,
        "answered": round(state.answered_a_second, 1),
        "oldest_s": round(state.oldest_turn_s, 1),
        "outcomes": state.outcomes,
        "dead_letters": state.dead_letters,
        "models": [[one.name, one.breaker, one.reason[:300], round(one.quota_left, 3)] for one in state.models],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
