"""What a rehearsal shows while it runs. Pure: numbers in, rich renderables out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, Self

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from forebay.operations.planning.traffic import Traffic
from forebay.rehearsal.delivery_check import Answer
from forebay.telemetry.percentile import percentile

from .observations import SaleSample

_WIDTH = 44
_SPARKS = "▁▂▃▄▅▆▇█"
_LATEST = 400
"""Replies whose times are shown."""
_LEAST_SPAN_S = 0.25
_TOLD = 4
"""Latest happenings that are shown."""


class SaleState(NamedTuple):
    """The state of the sale at one moment."""

    seconds: float
    lasts: float
    offered: float
    """Turns a second, over the last second."""
    answered: float
    waiting: int
    """Turns in Kafka or in a worker that no model has seen yet."""
    in_flight: int
    servers: int
    """Turns that the workers there are can have in flight."""
    sent: int
    replied: int
    p50_s: float
    """From sending to reply, of the latest 400."""
    p99_s: float
    failed_calls: int
    cost_usd: float
    ready: int
    wanted: int
    waited: Sequence[int]
    """Turns that waited, over the time so far."""
    peak: float
    """The highest rate that will be offered."""

    @classmethod
    def of(cls, samples: Sequence[SaleSample], answers: Sequence[Answer], traffic: Traffic, servers: int) -> Self:
        """As the latest sample says; rates over the last second."""
        sample = samples[-1]
        first = next(earlier for earlier in samples if earlier.at >= sample.at - 1.0)
        span = max(_LEAST_SPAN_S, sample.at - first.at)
        latest = [answer.latency_s for answer in answers[-_LATEST:]] or [0.0]
        return cls(
            seconds=sample.at,
            lasts=traffic.ends_s,
            offered=(sample.sent - first.sent) / span,
            answered=(sample.replied - first.replied) / span,
            waiting=sample.waiting,
            in_flight=sample.in_flight,
            servers=servers,
            sent=sample.sent,
            replied=sample.replied,
            p50_s=percentile(latest, 0.5),
            p99_s=percentile(latest, 0.99),
            failed_calls=sample.failed_calls,
            cost_usd=sum(answer.cost_usd for answer in answers),
            ready=sample.ready,
            wanted=sample.wanted,
            waited=[each.waiting for each in samples],
            peak=traffic.peak,
        )


def screen(moment: SaleState, happenings: Sequence[tuple[float, str]], title: str = "the sale") -> RenderableType:
    """The live view, 76 columns wide."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", justify="right", min_width=10)
    table.add_column(justify="right", min_width=8)
    table.add_column()
    full = moment.peak * 1.2
    table.add_row("offered", f"{moment.offered:.0f}/s", _bar(moment.offered, full, "yellow"))
    table.add_row("answered", f"{moment.answered:.0f}/s", _bar(moment.answered, full, "green"))
    table.add_row("waiting", f"{moment.waiting:,}", _spark(moment.waited))
    table.add_row("in flight", f"{moment.in_flight:,}", _bar(moment.in_flight, max(1, moment.servers), "blue"))
    failed = f"{moment.failed_calls:,} model calls failed" if moment.failed_calls else ""
    table.add_row("p50 / p99", f"{moment.p50_s:.2f} s", Text(f"{moment.p99_s:.2f} s  {failed}", style="dim"))
    table.add_row("turns", f"{moment.replied:,}", Text(f"of {moment.sent:,} sent", style="dim"))
    table.add_row("spent", f"${moment.cost_usd:.4f}", _workers(moment.ready, moment.wanted))
    told = [Text(f"{at:6.1f} s  {what}", style="bold red") for at, what in happenings[-_TOLD:]]
    head = f"{title}, {moment.seconds:.1f} of {moment.lasts:.0f} s"
    return Panel(Group(table, *told), title=head, width=76)


def _bar(value: float, full: float, style: str) -> Text:
    length = min(_WIDTH, round(value / full * _WIDTH))
    return Text("█" * length, style=style) + Text("·" * (_WIDTH - length), style="dim")


def _spark(values: Sequence[int]) -> Text:
    """The whole course in the width of a bar; each column is the most of its part of the time."""
    if not values:
        return Text("·" * _WIDTH, style="dim")
    columns = min(_WIDTH, len(values))
    edges = [round(place * len(values) / columns) for place in range(columns + 1)]
    most = [max(values[first:last]) for first, last in itertools.pairwise(edges)]
    highest = max(1, *most)
    return Text("".join(_SPARKS[value * (len(_SPARKS) - 1) // highest] for value in most), style="cyan")


def _workers(ready: int, wanted: int) -> Text:
    dots = Text("● " * min(ready, wanted), style="green") + Text("○ " * max(0, wanted - ready), style="yellow")
    starting = f", {wanted - ready} starting" if wanted > ready else ""
    return dots + Text(f"{ready} worker{'' if ready == 1 else 's'}{starting}")
