"""The runner: sets up what a rehearsal needs, holds its sales one after the other, and clears away."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from rich.live import Live

from forebay.rehearsal.chaos.chaos_run import BROKER
from forebay.rehearsal.chaos.schedule import ENDS, EventKind
from forebay.rehearsal.servers.kafka import EmbeddedKafka, EmbeddedKafkaError
from forebay.schemas import Cluster

from .figures import SaleFigures
from .plain_service import serve_plainly
from .prediction import predict
from .result import RehearsalResult, SaleResult, beside_plain
from .sale_run import SaleError, rehearse
from .scenario import Scenario
from .screen import screen

_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")
_OF_KAFKA = {kind for kind, end in ENDS.items() if end is EventKind.BROKER_START}


def hold(variants: Sequence[tuple[str, Scenario]], given: Cluster | None, console: Console) -> RehearsalResult:
    """Holds each sale and shows it on the console. Without a given cluster a real Kafka is started for it.

    Raises SaleError and ClusterError.
    """
    for _, scenario in variants:
        _check(scenario, given)
    held_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="forebay-rehearsal-") as folder:
        runs = [_hold(name, scenario, given, Path(folder), console) for name, scenario in variants]
    return RehearsalResult(beside_plain(runs), held_at)


def _hold(variant: str, scenario: Scenario, given: Cluster | None, folder: Path, console: Console) -> SaleResult:
    title = f"{scenario.name}, {variant}" if variant else scenario.name
    if scenario.service == "plain":
        return _hold_plainly(variant, scenario, title, console)
    with (
        _cluster(given, folder / "-".join(("kafka", *variant.split())), console) as (cluster, kafka),
        Live(console=console, refresh_per_second=4, transient=True) as live,
    ):
        outcome = uvloop.run(
            rehearse(
                scenario,
                cluster,
                folder,
                kafka,
                lambda sale: live.update(screen(sale.moment(), sale.happenings, title)),
                variant=variant,
            )
        )
    figures = SaleFigures(outcome)
    return SaleResult(figures, predict(figures))


def _hold_plainly(variant: str, scenario: Scenario, title: str, console: Console) -> SaleResult:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        outcome = uvloop.run(
            serve_plainly(
                scenario,
                lambda service: live.update(screen(service.moment(), service.happenings, title)),
                variant=variant,
            )
        )
    return SaleResult(SaleFigures(outcome))


@contextmanager
def _cluster(given: Cluster | None, data: Path, console: Console) -> Iterator[tuple[Cluster, EmbeddedKafka | None]]:
    """The embedded one keeps its data while it is stopped."""
    if given is not None:
        yield given, None
        return
    try:
        with (
            console.status("starting Apache Kafka") as status,
            EmbeddedKafka.running(progress=status.update, data=data, settings=BROKER) as kafka,
        ):
            status.stop()
            yield Cluster(kafka=kafka.bootstrap_servers), kafka
    except EmbeddedKafkaError as error:
        raise SaleError(str(error)) from error


def _check(scenario: Scenario, given: Cluster | None) -> None:
    if scenario.models.real and not any(os.environ.get(key) for key in _KEYS):
        raise SaleError(f"real models need {' or '.join(_KEYS)}")
    if given is not None and (broken := [fault.what for fault in scenario.faults if fault.what in _OF_KAFKA]):
        raise SaleError(
            f"faults: {', '.join(broken)}: only an embedded Kafka is broken: leave out --kafka, or these faults"
        )
    if given is None and scenario.traffic.shape == "recorded":
        raise SaleError("traffic.topic: recorded traffic lies on a Kafka of yours: give it with --kafka")
