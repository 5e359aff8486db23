"""How ``forebay status`` looks: what is wrong on top, then the figures. Fits 80 columns. Pure: values in, rich out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from forebay.operations.findings import Finding, runbook, seconds
from forebay.operations.fleet_status import FleetStatus, counted
from forebay.operations.fleet_view import FleetView, PartitionView
from forebay.schemas import WorkerState

from .dlq_screen import visible

_BLOCKS = "▁▂▃▄▅▆▇█"
_NEAR = 0.8
_QUOTA = 0.25
_PARTITIONS = 5


def screen(status: FleetStatus, kafka: str, history: Sequence[int] = (), most_workers: int = 1_000) -> RenderableType:
    """The whole screen. ``history``: how many turns waited at each of the last looks, oldest first."""
    return Group(
        _head(status, kafka),
        verdict(status.findings),
        Rule(style="dim"),
        _turns(status, history),
        Text(),
        _workers(status, most_workers),
        Text(),
        _models(status),
        Text(),
        _money(status),
        _letters(status),
    )


def verdict(found: Sequence[Finding]) -> RenderableType:
    """The findings, the worst first, each with its place in the runbook; one line when there is none."""
    if not found:
        return Text("✓ All is well.", style="bold green")
    table = Table.grid(padding=(0, 1))
    for place, finding in enumerate(found):
        style = "red" if finding.severe else "yellow"
        line = Text(f"{finding.title}: ", style=f"bold {style}")
        line.append(visible(finding.text), style="bold default" if place == 0 else "not bold default")
        line.append(" - ", style="dim").append(runbook(finding.code), style="not bold cyan")
        table.add_row(Text("✗" if finding.severe else "!", style=f"bold {style}"), line)
    return table


def _head(status: FleetStatus, kafka: str) -> RenderableType:
    line = Table.grid(expand=True)
    line.add_column(ratio=1, no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    at = datetime.fromtimestamp(status.view.now, UTC)
    where = Text(f"{kafka}, group {status.view.group}", style="dim")
    line.add_row(Text("forebay status  ", style="bold") + where, Text(f"{at:%H:%M:%S} UTC", style="dim"))
    return line


def _turns(status: FleetStatus, history: Sequence[int]) -> RenderableType:
    view, situation = status.view, status.situation
    trend = view.offered - view.answered
    waiting = Text(f"{status.waiting:,}")
    if status.waiting and abs(trend) >= 0.1:
        waiting.append(f"  {trend:+,.1f}/s", style="red" if trend > 0 else "green")
    if history:
        waiting.append(f"  {spark(history)}", style="cyan")
    oldest = Text("none waits" if status.oldest_waiting_s is None else seconds(status.oldest_waiting_s))
    oldest.append(f"  of {seconds(situation.turn_ttl_s)} until turns expire", style="dim")
    permits = sum(state.permits for state in situation.workers)
    most = sum(state.concurrency for state in situation.workers)
    in_flight = Text(f"{status.in_flight:,}").append(f"  {permits:,} permits of {most:,}", style="dim")
    table = _grid()
    table.add_row("offered", Text(f"{view.offered:,.1f}/s, answered {view.answered:,.1f}/s"))
    table.add_row("in flight", in_flight)
    table.add_row("waiting", waiting)
    table.add_row("oldest", oldest)
    table.add_row("lag", Text(f"{status.lag:,}").append("  behind the commits, those in flight too", style="dim"))
    table.add_row("partitions", _partitions(status))
    return table


def _partitions(status: FleetStatus) -> Text:
    text = Text(f"{len(status.partitions)}")
    if unowned := [one.number for one in status.partitions if one.worker is None]:
        numbers = ", ".join(map(str, unowned[:_PARTITIONS])) + (", …" if len(unowned) > _PARTITIONS else "")
        text.append(
            f"  {len(unowned)} without an owner: {numbers}", style="red" if status.situation.unowned else "yellow"
        )
    waiting = sorted((one for one in status.partitions if one.waiting), key=lambda one: -(one.waiting or 0))
    if waiting:
        text.append("  most waiting: " + ", ".join(f"{one.number} ({one.waiting:,})" for one in waiting[:_PARTITIONS]))
    return text


def _workers(status: FleetStatus, most: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("worker", ratio=1, overflow="fold")
    table.add_column("state", no_wrap=True)
    for name in ("turns/s", "in flight", "waiting", "permits", "parts", "oldest"):
        table.add_column(name, justify="right", no_wrap=True)
    silent = status.view.silent
    order = sorted(status.workers, key=lambda one: (one.worker_id not in silent, not one.trouble, one.worker_id))
    for state in order[:most]:
        table.add_row(*_worker(state, silent=state.worker_id in silent))
    if not order:
        table.add_row(Text("none reports", style="red"))
    if len(order) > most:
        table.add_row(Text(f"… and {len(order) - most} more", style="dim"))
    return table


def _worker(state: WorkerState, *, silent: bool) -> list[Text]:
    if silent:
        condition = Text("silent", style="red")
    elif state.alarm:
        condition = Text("alarm", style="red")
    elif state.trouble and state.state == "working":
        condition = Text("trouble", style="red")
    else:
        condition = Text(state.state, style="green" if state.state == "working" else "yellow")
    permits = Text(f"{state.permits}/{state.concurrency}", style="yellow" if state.permits < state.concurrency else "")
    return [
        Text(visible(state.worker_id)),
        condition,
        Text(f"{state.answered_a_second:,.1f}"),
        Text(f"{state.in_flight:,}"),
        Text(f"{state.waiting:,}"),
        permits,
        Text(str(len(state.partitions))),
        Text(seconds(state.oldest_turn_s) if state.oldest_turn_s else "-"),
    ]


def _models(status: FleetStatus) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("model", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("breakers", no_wrap=True)
    table.add_column("quota left", justify="right", no_wrap=True)
    for model in status.models:
        states = [(model[name], name.replace("_", "-")) for name in ("open", "half_open", "closed")]
        told = ", ".join(f"{count} {name}" for count, name in states if count)
        style = "red" if model["open"] else "yellow" if model["half_open"] else "green"
        left = Text(f"{model['quota_left']:.0%}", style="yellow" if model["quota_left"] < _QUOTA else "")
        table.add_row(Text(visible(model["name"])), Text(told, style=style), left)
    if not status.models:
        table.add_row(Text("no worker has told of one", style="dim"))
    return table


def _money(status: FleetStatus) -> RenderableType:
    table, spending = _grid(), status.spending
    text = Text()
    for name, when in (("hour", "this hour"), ("day", "today")):
        usd, ceiling = spending[f"{name}_usd"], spending[f"{name}_ceiling_usd"]
        near = ceiling is not None and usd >= _NEAR * ceiling
        text.append(f"{usd:,.4f}", style="yellow" if near else "")
        text.append(f" of {ceiling:,.2f}" if ceiling is not None else "").append(f" USD {when}   ", style="dim")
    text.append("" if spending["shared"] else "(of these workers since their start)", style="dim")
    table.add_row("spent", text)
    return table


def _letters(status: FleetStatus) -> RenderableType:
    letters, table = status.dead_letters, _grid()
    since = counted(state.dead_letters for state in status.workers)
    text = Text(_counts(letters.recent) or "none", style="yellow" if letters.recent else "")
    text.append(" in 10 min", style="dim")
    if since:
        text.append(f"   {_counts(since)}").append(" since the workers started", style="dim")
    text.append(f"   {letters.records:,}").append(" records on the topic", style="dim")
    table.add_row("dead letters", text)
    return table


def _counts(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda pair: -pair[1])[:4]
    return ", ".join(f"{visible(name) or '(none)'} {count:,}" for name, count in most)


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=12)
    table.add_column()
    return table


def spark(values: Sequence[int]) -> str:
    """Numbers as a line of blocks; the largest is a full one."""
    top = max(values) or 1
    return "".join(_BLOCKS[round(value / top * (len(_BLOCKS) - 1))] for value in values)


def document(status: FleetStatus) -> dict[str, Any]:
    """The status as data for JSON; docs/runbook.md names the fields."""
    view = status.view
    return {
        "at": datetime.fromtimestamp(view.now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "group": view.group,
        "healthy": not status.findings,
        "severe": status.severe,
        "findings": [finding._asdict() | {"runbook": runbook(finding.code)} for finding in status.findings],
        "turns": {
            "lag": status.lag,
            "waiting": status.waiting,
            "in_flight": status.in_flight,
            "offered_a_second": round(view.offered, 1),
            "answered_a_second": round(view.answered, 1),
            "trend_a_second": round(view.offered - view.answered, 1),
            "oldest_waiting_s": _rounded(status.oldest_waiting_s),
            "expire_after_s": status.situation.turn_ttl_s,
        },
        "permits": {
            "now": sum(state.permits for state in status.situation.workers),
            "most": sum(state.concurrency for state in status.situation.workers),
        },
        "workers": [_worker_json(state, view) for state in status.workers],
        "models": status.models,
        "spending": status.spending,
        "dead_letters": {
            "last_10_minutes": dict(status.dead_letters.recent),
            "since_start": counted(state.dead_letters for state in status.workers),
            "records": status.dead_letters.records,
        },
        "unowned_partitions": [one.number for one in status.partitions if one.worker is None],
        "partitions": [_partition_json(partition) for partition in status.partitions],
    }


def _worker_json(state: WorkerState, view: FleetView) -> dict[str, Any]:
    silent = state.worker_id in view.silent
    told = ("worker_id", "version", "host", "pid", "state", "trouble", "alarm", "in_flight", "waiting", "permits")
    return {
        **{name: getattr(state, name) for name in told},
        "silent": silent,
        "reported_s_ago": round(max(0.0, view.now - state.reported_at.timestamp()), 1),
        "up_s": round(max(0.0, view.now - state.started_at.timestamp())),
        "concurrency": state.concurrency,
        "answered_a_second": round(state.answered_a_second, 1),
        "oldest_turn_s": round(state.oldest_turn_s, 1),
        "partitions": [partition.partition for partition in state.partitions],
        "outcomes": state.outcomes,
    }


def _partition_json(partition: PartitionView) -> dict[str, Any]:
    age = partition.oldest
    return {
        "partition": partition.number,
        "log_end": partition.log_end,
        "waiting": partition.waiting,
        "in_flight": partition.in_flight,
        "oldest_turn_s": None if age is None else round(age.seconds, 1),
        "worker": partition.worker,
        "paused": partition.paused,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
