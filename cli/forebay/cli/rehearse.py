"""``forebay rehearse``: a sale in a box."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from forebay.schemas.extras import needs

from .command import CommandFailed, Json, print_json

if TYPE_CHECKING:
    from forebay.rehearsal.sale.comparison import Comparison
    from forebay.rehearsal.sale.result import RehearsalResult
    from forebay.rehearsal.sale.scenario import Scenario


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
        Literal["streamed", "routing", "impatience"] | None,
        typer.Option(help="Hold it twice: plain or one large model first. Impatience: a plain service before both."),
    ] = None,
    targets: Annotated[Path | None, typer.Option(help="What figures must keep to (YAML).")] = None,
    report: Annotated[Path, typer.Option(help="Where the report with plots goes (HTML).")] = Path("rehearsal.html"),
    no_report: Annotated[bool, typer.Option("--no-report", help="Write none.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the scenario as YAML, and hold nothing.")] = False,
    json: Json = False,
) -> None:
    """A sale in a box: spike, faults, workers that come and go, a report. Exit 1 when a target is missed."""
    from forebay.rehearsal.sale.comparison import CROWD
    from forebay.rehearsal.sale.scenario_file import as_yaml, scenario_of

    given = scenario_of(
        scenario,
        targets,
        latency,
        CROWD if compare == "impatience" else None,
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
        typer.echo(as_yaml(given), nl=False)
        return
    if not no_report:
        _check_report(report)
    for wish in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(wish, lambda *_: signal.raise_signal(signal.SIGINT))  # it cleans up, as after Ctrl-C
    if not _hold(given, kafka, compare, None if no_report else report, json):
        raise typer.Exit(1)


def _hold(
    scenario: Scenario, kafka: str | None, comparison: Comparison | None, report: Path | None, as_json: bool
) -> bool:
    """Holds it, prints what came of it and writes the report; returns whether it passed. Raises CommandFailed."""
    from rich.console import Console

    from forebay.operations.accounts import largest
    from forebay.rehearsal.sale.comparison import variants
    from forebay.rehearsal.sale.runner import hold
    from forebay.rehearsal.sale.sale_run import SaleError
    from forebay.rehearsal.sale.scenario import ScenarioError
    from forebay.rehearsal.sale.summary import summary
    from forebay.schemas import Cluster
    from forebay.workers.models.catalogue import Catalogue
    from forebay.workers.settings import WorkerSettings

    console = Console(stderr=as_json)
    known = Catalogue.load(WorkerSettings.read().catalogue)
    given = None if kafka is None else Cluster.read({"kafka": "--kafka"}, kafka=kafka)
    try:
        result = hold(variants(scenario, comparison, largest(known)), given, console)
    except (SaleError, ScenarioError) as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json(result.document())
    else:
        console.print(summary(result))
    if report is not None:
        _write(report, result)
        console.print(f"report: {report}", highlight=False)
    return result.passed


def _check_report(file: Path) -> None:
    """Before a sale is held. Raises SettingsError where its report could not be written."""
    from forebay.schemas import SettingsError

    if find_spec("plotly") is None:
        raise SettingsError(f"{needs('the report', 'console')}, or --no-report")
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise SettingsError(f"--report {file}: cannot be written there; name another, or --no-report")


def _write(file: Path, result: RehearsalResult) -> None:
    from forebay.rehearsal.sale.sale_report import report

    try:
        file.write_text(report(result), encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"--report {file}: cannot be written: {error.strerror}") from error
