"""``forebay plan`` and ``forebay rehearse``: before the sale."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from .command import Json, print_json


def rehearse(
    scenario: Annotated[Path | None, typer.Argument(help="A scenario (YAML); a 40x spike without one.")] = None,
    speed: Annotated[float | None, typer.Option(help="So many times shorter than the sale. Default: 20.")] = None,
    shape: Annotated[str | None, typer.Option(help="spike, sustained, decaying, points or recorded.")] = None,
    calm: Annotated[str | None, typer.Option(help="Turns before the sale opens, such as 5/s.")] = None,
    peak: Annotated[str | None, typer.Option(help="Turns at its height, such as 200/s.")] = None,
    least: Annotated[int | None, typer.Option(help="Fewest workers.")] = None,
    most: Annotated[int | None, typer.Option(help="Most workers.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Model calls in flight in one worker.")] = None,
    latency: Annotated[str | None, typer.Option(help="Of a model call in seconds: p50=0.6,p99=2.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers; an embedded Kafka without it.")] = None,
    real: Annotated[bool, typer.Option("--real", help="Call the real models. This costs money.")] = False,
    compare: Annotated[
        Literal["streamed", "routing"] | None, typer.Option(help="Hold it twice: plain or one large model first.")
    ] = None,
    targets: Annotated[Path | None, typer.Option(help="What figures must keep to (YAML).")] = None,
    report: Annotated[Path, typer.Option(help="Where the report with plots goes (HTML).")] = Path("rehearsal.html"),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write none.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the scenario as YAML, and hold nothing.")] = False,
    json: Json = False,
) -> None:
    """A sale in a box: spike, faults, workers that come and go, a report. Exit 1 when a target is missed."""
    from . import rehearse as rehearsing

    given = rehearsing.scenario_of(
        scenario,
        targets,
        latency,
        speed=speed,
        traffic__shape=shape,
        traffic__calm=calm,
        traffic__peak=peak,
        workers__least=least,
        workers__most=most,
        workers__concurrency=concurrency,
        models__real=real or None,
    )
    if show:
        typer.echo(rehearsing.show(given), nl=False)
        return
    if not no_report:
        rehearsing.check_report(report)
    for wish in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, lambda *_: signal.raise_signal(signal.SIGINT))  # it cleans up, as after Ctrl-C
    if not rehearsing.rehearse(given, kafka, compare, None if no_report else report, json):
        raise typer.Exit(1)


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
    from .plan import as_json, expected_of, kept_partitions, planned, values_of

    said["partitions"] = kept_partitions(kustomize, said["partitions"])
    found = planned(expected_of(said))
    values = values_of(found, kustomize, shlex.join(["forebay", *sys.argv[1:]]))
    if json:
        print_json(as_json(found, values))
        return
    from .plan_screen import show

    show(found, values, kustomize)
