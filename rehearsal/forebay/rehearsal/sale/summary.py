"""The summary of a rehearsal on a terminal. Pure: figures in, rich renderables out."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .figure import FIGURES, label, shown
from .result import RehearsalResult, SaleResult

_SHOWN = (
    "total",
    "succeeded",
    "failed",
    "expired",
    "handed_off",
    "merged",
    "cancelled",
    "customers",
    "in_time",
    "in_time_share",
    "in_time_of_plain",
    "calls_an_answer",
    "calls_for_nobody",
    "latency_avg_s",
    "latency_p50_s",
    "latency_p95_s",
    "latency_p99_s",
    "waited_p50_s",
    "waited_p99_s",
    "first_word_p50_s",
    "first_word_p99_s",
    "peak_waiting",
    "peak_pods",
    "drain_ratio",
    "rebalance_loss_s",
    "model_calls_failed",
    "input_tokens",
    "output_tokens",
    "cost_usd",
)
_NOTABLE = {"failed", "expired", "handed_off", "merged", "cancelled", "model_calls_failed"}
"""Are shown when there are any."""
_LATE_S = 0.1


def summary(result: RehearsalResult) -> RenderableType:
    """The figures, what was predicted, the targets, and whether all were met."""
    parts: list[RenderableType] = [_figures(result)]
    parts += [_prediction(run) for run in result.runs if run.prediction is not None]
    parts.append(_targets(result))
    late = max(run.table()["late_p99_s"] or 0.0 for run in result.runs)
    if late > _LATE_S:
        note = f"The load itself was up to {late:.1f} s late: this machine was too busy for the figures to be exact."
        parts.append(Text(note, style="yellow"))
    missed = sum(not each.met for each in result.judged)
    title = f"{missed} targets missed" if missed else "every promise kept, every target met"
    return Panel(Group(*parts), title=title, border_style="red" if missed else "green", width=78)


def _figures(result: RehearsalResult) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=len(result.runs) > 1)
    table.add_column("", style="bold", justify="right")
    for run in result.runs:
        table.add_column(run.variant, justify="right")
    table.add_column("", style="dim")
    tables = [run.table() for run in result.runs]
    for name in _SHOWN:
        values = [figures[name] for figures in tables]
        if all(value is None for value in values) or (name in _NOTABLE and not any(values)):
            continue
        meaning = FIGURES[name].meaning if len(result.runs) == 1 else ""
        table.add_row(label(name), *(shown(name, value) for value in values), meaning)
    return table


def _prediction(run: SaleResult) -> Table:
    table = Table(box=None, padding=(0, 2), title=f"as `forebay plan` predicts it {run.variant}", title_justify="left")
    for heading in ("figure", "predicted", "measured", "off by"):
        table.add_column(heading, justify="right")
    assert run.prediction is not None
    for each in run.prediction.compared:
        table.add_row(
            label(each.name), shown(each.name, each.predicted), shown(each.name, each.measured), f"{each.error:.0%}"
        )
    return table


def _targets(result: RehearsalResult) -> Table:
    table = Table(box=None, padding=(0, 2), title="targets", title_justify="left")
    for heading in ("figure", "target", "measured", ""):
        table.add_column(heading, justify="right")
    for each in result.judged:
        verdict = Text("met", style="green") if each.met else Text("missed", style="bold red")
        table.add_row(
            f"{each.variant} {label(each.name)}".strip(), str(each.bound), shown(each.name, each.value), verdict
        )
    return table
