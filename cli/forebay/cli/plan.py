"""``forebay plan``: what an expected sale needs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .command import Json, print_json


def plan(
    peak: Annotated[str, typer.Option(help="Turns at the height of the sale, such as 200/s or 12000/m.")],
    latency: Annotated[str | None, typer.Option(help="Of one model call. Default: p50=3,p99=20 (seconds).")] = None,
    rpm: Annotated[str | None, typer.Option(help="Requests a minute that the provider allows, such as 12k.")] = None,
    tpm: Annotated[str | None, typer.Option(help="Tokens a minute that it allows, such as 20M.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Of one turn. Default: in=900,out=120; also cached=.")] = None,
    calm: Annotated[str | None, typer.Option(help="Turns before the sale. Default: a fortieth of the peak.")] = None,
    climb: Annotated[str | None, typer.Option(help="From calm to peak. Default: 5m.")] = None,
    hold: Annotated[str | None, typer.Option(help="At the peak. Default: 30m.")] = None,
    wait: Annotated[str | None, typer.Option(help="What turns may wait at the peak. Default: p99=5.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Calls at once in a pod. Default: 50.")] = None,
    partitions: Annotated[
        int | None, typer.Option(help="Of a topic that is there already. Default: as needed.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Who answers; several as NAME=SHARE. Default: claude-haiku-4-5.")
    ] = None,
    faq: Annotated[str | None, typer.Option(help="Share of turns that no model answers, such as 0.2.")] = None,
    conversations: Annotated[int | None, typer.Option(help="Customers who write, some before their reply.")] = None,
    calls_at_once: Annotated[
        int | None, typer.Option(help="Calls at once that the provider takes of all pods.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="USD to spend in a day at most.")] = None,
    opens: Annotated[str | None, typer.Option(help="When the sale opens, such as '2026-11-27 00:00'.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of --opens. Default: UTC.")] = None,
    pod_start: Annotated[str | None, typer.Option(help="From the wish to a working pod. Default: 20s.")] = None,
    ttl: Annotated[str | None, typer.Option(help="How long a turn may wait at all. Default: 120s.")] = None,
    speed: Annotated[float | None, typer.Option(help="As a rehearsal that is so many times shorter.")] = None,
    kustomize: Annotated[Path | None, typer.Option(help="Write the overlay's plan.yaml here.")] = None,
    json: Json = False,
) -> None:
    """Pods, partitions, pre-scaling, quota and money for an expected sale; what turns will wait, and what breaks first."""
    said = {name: value for name, value in locals().items() if name not in ("json", "kustomize")}
    from rich.console import Console

    from forebay.operations.planning.kustomize import kept_partitions, manifest, values
    from forebay.operations.planning.plan import plan as plan_of
    from forebay.operations.planning.sale_options import expected_of
    from forebay.workers.models import Catalogue
    from forebay.workers.settings import WorkerSettings

    from .plan_screen import as_json, show

    try:
        if kustomize is not None:
            said["partitions"] = kept_partitions(kustomize, partitions)
        expected = expected_of(said)
        with Console(stderr=True).status("simulating the sale"):
            found = plan_of(expected, Catalogue.load(WorkerSettings.read().catalogue))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    data = values(found.expected, found.fleet)
    if kustomize is not None:
        kustomize.write_text(manifest(data, shlex.join(["forebay", *sys.argv[1:]])), encoding="utf-8")
    if json:
        print_json(as_json(found, data))
    else:
        show(found, data, kustomize)
