"""``forebay status``: what is wrong now and where the runbook says what to do, then the figures."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live

from forebay.operations.findings import runbook
from forebay.operations.fleet_status import Lookout, Status, counted
from forebay.operations.fleet_view import Moment, PartitionNow
from forebay.schemas import Cluster, ClusterError, WorkerState
from forebay.workers.settings import WorkerSettings

from .command import run
from .dlq_screen import json_lines
from .status_screen import screen

_HISTORY = 30
_LINES_BESIDE_WORKERS = 22


def show(cluster: Cluster, settings: WorkerSettings, *, watch: bool, every_s: float, as_json: bool) -> Status:
    """Prints how it is, once or until Ctrl-C; returns what it saw last. Raises ClusterError where Kafka does not answer."""
    if watch:
        return _follow(cluster, settings, every_s)
    status: Status = run(_once(cluster, settings))
    if as_json:
        sys.stdout.write(json_lines(document(status), indent=True) + "\n")
    else:
        Console().print(screen(status, cluster.kafka))
    return status


async def _once(cluster: Cluster, settings: WorkerSettings) -> Status:
    async with Lookout(cluster, settings.group, settings.turn_ttl_s) as lookout:
        return await lookout.look()


def _follow(cluster: Cluster, settings: WorkerSettings, every_s: float) -> Status:
    """Where Kafka goes away meanwhile, that is shown too; it must answer the first look."""
    console, history, latest = Console(), deque[int](maxlen=_HISTORY), list[Status]()

    async def follow() -> None:
        async with Lookout(cluster, settings.group, settings.turn_ttl_s) as lookout:
            latest[:], answered_at = [await lookout.look()], time.monotonic()
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    history.append(latest[0].waiting)
                    most = max(3, console.height - _LINES_BESIDE_WORKERS)
                    live.update(screen(latest[0], cluster.kafka, history, most), refresh=True)
                    await asyncio.sleep(every_s)
                    try:
                        latest[:], answered_at = [await lookout.look()], time.monotonic()
                    except ClusterError:
                        latest[:] = [latest[0].without_kafka(time.monotonic() - answered_at)]

    try:
        run(follow())
    except KeyboardInterrupt:  # the way to end it
        if not latest:
            raise
    return latest[0]


def document(status: Status) -> dict[str, Any]:
    """All of it, as data; docs/runbook.md names the fields."""
    moment = status.moment
    return {
        "at": datetime.fromtimestamp(moment.now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "group": moment.group,
        "healthy": not status.findings,
        "severe": status.severe,
        "findings": [finding._asdict() | {"runbook": runbook(finding.code)} for finding in status.findings],
        "turns": {
            "lag": status.lag,
            "waiting": status.waiting,
            "in_flight": status.in_flight,
            "offered_a_second": round(moment.offered, 1),
            "answered_a_second": round(moment.answered, 1),
            "trend_a_second": round(moment.offered - moment.answered, 1),
            "oldest_waiting_s": _rounded(status.oldest_waiting_s),
            "expire_after_s": status.situation.turn_ttl_s,
        },
        "permits": {
            "now": sum(state.permits for state in status.situation.workers),
            "most": sum(state.concurrency for state in status.situation.workers),
        },
        "workers": [_worker(state, moment) for state in status.workers],
        "models": status.models,
        "spending": status.spending,
        "dead_letters": {
            "last_10_minutes": dict(status.dead_letters.recent),
            "since_start": counted(state.dead_letters for state in status.workers),
            "records": status.dead_letters.records,
        },
        "unowned_partitions": [one.number for one in status.partitions if one.worker is None],
        "partitions": [_partition(partition) for partition in status.partitions],
    }


def _worker(state: WorkerState, moment: Moment) -> dict[str, Any]:
    silent = state.worker_id in moment.silent
    told = ("worker_id", "version", "host", "pid", "state", "trouble", "alarm", "in_flight", "waiting", "permits")
    return {
        **{name: getattr(state, name) for name in told},
        "silent": silent,
        "reported_s_ago": round(max(0.0, moment.now - state.reported_at.timestamp()), 1),
        "up_s": round(max(0.0, moment.now - state.started_at.timestamp())),
        "concurrency": state.concurrency,
        "answered_a_second": round(state.answered_a_second, 1),
        "oldest_turn_s": round(state.oldest_turn_s, 1),
        "partitions": [partition.partition for partition in state.partitions],
        "outcomes": state.outcomes,
    }


def _partition(partition: PartitionNow) -> dict[str, Any]:
    age = partition.oldest
    return {
        "partition": partition.number,
        "log_end": partition.log_end,
        "waiting": partition.waiting,
        "in_flight": partition.in_flight,
        "oldest_turn_s": None if age is None else round(age.seconds, 1),
        "worker": partition.worker,
        "paused": partition.paused,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
