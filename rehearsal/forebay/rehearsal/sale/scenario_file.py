"""``forebay rehearse``: its options on top of a scenario's file, and what it leaves behind."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from forebay.operations.accounts import largest
from forebay.rehearsal.sale.comparison import Comparison, variants
from forebay.rehearsal.sale.result import Held
from forebay.rehearsal.sale.run import SaleError
from forebay.rehearsal.sale.runner import hold
from forebay.rehearsal.sale.scenario import Scenario, ScenarioError, read_scenario
from forebay.rehearsal.sale.summary import summary
from forebay.schemas import Cluster, SettingsError
from forebay.workers.models.catalogue import Catalogue
from forebay.workers.settings import WorkerSettings

from .command import CommandFailed, print_json


def scenario_of(file: Path | None, targets: Path | None, latency: str | None, **given: Any) -> Scenario:
    """The scenario that these options say. Raises SettingsError, with one line."""
    try:
        if latency is not None:
            given["models__latency"] = _latency(latency)
        if targets is not None:
            given["targets"] = _targets(targets)
        return read_scenario(file, **given)
    except ScenarioError as error:
        raise SettingsError(str(error)) from error


def show(scenario: Scenario) -> str:
    """The whole scenario as YAML, to write one's own from."""
    return str(yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def rehearse(
    scenario: Scenario, kafka: str | None, comparison: Comparison | None, report: Path | None, as_json: bool
) -> bool:
    """Holds it, prints what came of it and writes the report; returns whether it passed. Raises CommandFailed."""
    console = Console(stderr=as_json)
    known = Catalogue.load(WorkerSettings.read().catalogue)
    given = None if kafka is None else Cluster.read({"kafka": "--kafka"}, kafka=kafka)
    try:
        held = hold(variants(scenario, comparison, largest(known)), given, console)
    except (SaleError, ScenarioError) as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json(held.document())
    else:
        console.print(summary(held))
    if report is not None:
        _write(report, held)
        console.print(f"report: {report}", highlight=False)
    return held.passed


def check_report(file: Path) -> None:
    """Before a sale is held. Raises SettingsError where its report could not be written."""
    if find_spec("plotly") is None:
        raise SettingsError(
            "the report's plots need the extra `console`: pip install 'forebay[console]', or --no-report"
        )
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise SettingsError(f"--report {file}: cannot be written there; name another, or --no-report")


def _write(file: Path, held: Held) -> None:
    from forebay.rehearsal.sale.report import report

    try:
        file.write_text(report(held), encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"--report {file}: cannot be written: {error.strerror}") from error


def _latency(said: str) -> dict[str, str]:
    parts = dict(part.partition("=")[::2] for part in said.split(","))
    if set(parts) != {"p50", "p99"}:
        raise ScenarioError(f"--latency {said!r}: write p50=3,p99=20, in seconds")
    return parts


def _targets(file: Path) -> dict[str, Any]:
    try:
        targets = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScenarioError(f"--targets {file}: {' '.join(str(error).split())}") from error
    if not isinstance(targets, dict):
        raise ScenarioError(f"--targets {file}: write a figure and its bound a line, such as latency_p99_s: 20")
    return targets
