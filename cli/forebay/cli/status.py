"""``forebay status``: what is wrong now and where the runbook says what to do, then the figures."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .command import Json


def status(
    watch: Annotated[
        bool | None, typer.Option("--watch/--once", help="Refresh until Ctrl-C; the default on a terminal.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 2.0,
    check: Annotated[bool, typer.Option("--check", help="Look once; exit 1 when something severe is wrong.")] = False,
    json: Json = False,
) -> None:
    """What is wrong now and where the runbook tells what to do; lag, workers, breakers, spending. From Kafka alone."""
    from forebay.schemas import Cluster
    from forebay.workers.settings import WorkerSettings

    from .status_watch import show

    if watch and (json or check):
        raise typer.BadParameter("--watch goes with neither --json nor --check: those look once")
    follow = sys.stdout.isatty() and not (json or check) if watch is None else watch
    if show(Cluster.read(), WorkerSettings.read(), watch=follow, every_s=every, as_json=json).severe and check:
        raise typer.Exit(1)
