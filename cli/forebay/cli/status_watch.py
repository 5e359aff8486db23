"""Prints the status once, or again and again until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque

from rich.console import Console
from rich.live import Live

from forebay.operations.fleet_status import FleetStatus, FleetStatusReader
from forebay.schemas import Cluster, ClusterError
from forebay.workers.settings import WorkerSettings

from .command import run
from .dlq_screen import json_lines
from .status_screen import document, screen

_HISTORY = 30
_LINES_BESIDE_WORKERS = 22


def show(cluster: Cluster, settings: WorkerSettings, *, watch: bool, every_s: float, as_json: bool) -> FleetStatus:
    """Prints the status once, or until Ctrl-C; returns the last one. Raises ClusterError where Kafka does not answer."""
    if watch:
        return _follow(cluster, settings, every_s)
    status: FleetStatus = run(_once(cluster, settings))
    if as_json:
        sys.stdout.write(json_lines(document(status), indent=True) + "\n")
    else:
        Console().print(screen(status, cluster.kafka))
    return status


async def _once(cluster: Cluster, settings: WorkerSettings) -> FleetStatus:
    async with FleetStatusReader(cluster, settings.group, settings.turn_ttl_s) as reader:
        return await reader.read()


def _follow(cluster: Cluster, settings: WorkerSettings, every_s: float) -> FleetStatus:
    """Where Kafka goes away meanwhile, that is shown too; it must answer the first look."""
    console, history, latest = Console(), deque[int](maxlen=_HISTORY), list[FleetStatus]()

    async def follow() -> None:
        async with FleetStatusReader(cluster, settings.group, settings.turn_ttl_s) as reader:
            latest[:], answered_at = [await reader.read()], time.monotonic()
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    history.append(latest[0].waiting)
                    most = max(3, console.height - _LINES_BESIDE_WORKERS)
                    live.update(screen(latest[0], cluster.kafka, history, most), refresh=True)
                    await asyncio.sleep(every_s)
                    try:
                        latest[:], answered_at = [await reader.read()], time.monotonic()
                    except ClusterError:
                        latest[:] = [latest[0].without_kafka(time.monotonic() - answered_at)]

    try:
        run(follow())
    except KeyboardInterrupt:  # the way to end it
        if not latest:
            raise
    return latest[0]
