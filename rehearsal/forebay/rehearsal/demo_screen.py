"""The demo's summary, and what to try next. Pure: numbers in, rich renderables out."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from forebay.telemetry.percentile import percentile

from .delivery_check import Answer, DeliveryCheck, Verdict


def times(answers: Sequence[Answer]) -> dict[str, list[float]]:
    """How long turns waited, were in the models, and took in all; in seconds."""
    return {
        "waited": [answer.waited_s for answer in answers],
        "in the model": [answer.model_s for answer in answers],
        "in all": [answer.latency_s for answer in answers],
    }


def summary(
    verdict: Verdict, check: DeliveryCheck, events: Sequence[tuple[float, str]], routes: Counter[str]
) -> RenderableType:
    """The checked counts at the end, and what to try next."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", justify="right", min_width=14)
    table.add_column(justify="right", min_width=10)
    table.add_column(style="dim")
    table.add_row("sent", f"{verdict.sent:,}", "acknowledged by Kafka")
    table.add_row("answered", f"{verdict.answered:,}", _others(verdict))
    table.add_row("lost", *_zero(verdict.lost, "turns without a reply"))
    table.add_row("out of order", *_zero(verdict.out_of_order, "replies before an earlier turn's"))
    table.add_row("duplicates", *_zero(verdict.duplicates, "turns with two different replies"))
    table.add_row("forgotten", *_zero(verdict.forgotten, "replies of a model that was not shown all that was said"))
    for name, values in times(check.answers).items():
        known = values or [0.0]
        table.add_row(name, f"{percentile(known, 0.5):.2f} s", f"p50; p99 {percentile(known, 0.99):.2f} s")
    table.add_row("cost", f"${check.cost_usd:.4f}", "as the replies say")
    table.add_row("answered by", "", ", ".join(f"{route} {count:,}" for route, count in routes.most_common()))
    if verdict.repeats:
        table.add_row(
            "repeats",
            f"{verdict.repeats:,}",
            "published again after the kill, byte for byte the same; readers drop them",
        )
    told = [Text(f"at {at:.1f} s {event}", style="dim") for at, event in events]
    title = "every promise kept" if verdict.kept else "A PROMISE WAS BROKEN"
    return Group(
        Panel(Group(table, *told), title=title, border_style="green" if verdict.kept else "red", width=100), _next()
    )


def staying(url: str, kafka: str) -> Group:
    """Where everything is that runs on."""
    places = {"chat page": f"{url}/", "console": f"{url}/console", "API": f"{url}/openapi.json", "Kafka": kafka}
    table = Table.grid(padding=(0, 2))
    for name, place in places.items():
        table.add_row(Text(name, style="bold"), Text(place, style="cyan"))
    return Group(Text("\nEverything runs on, until Ctrl-C:"), table)


def _next() -> Text:
    command = _command()
    steps = {
        "broker": "a Kafka that stays",
        "topics apply": "its topics",
        "model-api": "the simulated models; it prints what to export",
        "worker": "as many as you like",
        'ask "Is SKU001 in stock?"': "a turn of your own",
        "gateway --open": "the chat page and the console",
    }
    text = Text("Next, each in a terminal of its own:\n")
    for words, about in steps.items():
        text.append(f"  {command} {words:28}", style="bold").append(f"{about}\n", style="dim")
    return text


def _command() -> str:
    """How this very program is called from here."""
    if shutil.which("forebay"):
        return "forebay"
    script = Path(sys.executable).with_name("forebay")
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def _others(verdict: Verdict) -> str:
    return (
        f"and {verdict.other_outcomes:,} went to a person, or were told why not"
        if verdict.other_outcomes
        else "each exactly once"
    )


def _zero(count: int, meaning: str) -> tuple[Text, str]:
    return Text(f"{count:,}", style="bold red" if count else "bold green"), meaning
