"""How a plan looks on a screen of 80 columns: the verdict, what it needs, what it will be like, what breaks, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forebay.operations.planning.plan import Plan
from forebay.operations.planning.simulated import Simulated


def show(plan: Plan, values: Mapping[str, str], written: Path | None) -> None:
    """Prints the plan; ``written`` is where the values of the overlay went, None where they are to be printed."""
    console = Console(highlight=False)
    fleet, breaks = plan.fleet, plan.bounds[0]
    colour = "green" if plan.holds else "red"
    console.print(
        f"[bold {colour}]{fleet.pods} pods of {plan.expected.concurrency} calls, {fleet.partitions} partitions; "
        f"begin {fleet.early_s // 60} minutes before[/]"
    )
    enough = breaks.turns_per_s >= plan.expected.peak
    console.print(
        f"[bold {'green' if enough else 'red'}]breaks first: {breaks.resource}, at {breaks.turns_per_s:,.0f} turns/s[/]"
        f" ({plan.expected.peak:,.0f} expected)"
    )
    for table in (_needs(plan), _waiting(plan), _bounds(plan)):
        console.print()
        console.print(table)
    console.print()
    console.print(_advice(plan))
    console.print()
    if written is not None:
        console.print(f"kustomize values written to {written}", markup=False, soft_wrap=True)
        return
    console.print("[bold]kustomize values[/] (--kustomize FILE writes them)")
    for name, value in values.items():
        console.print(f"  {name:20} {value}", markup=False)


def _needs(plan: Plan) -> Table:
    expected, fleet, spent = plan.expected, plan.fleet, plan.money
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "traffic",
        f"{expected.calm:,.4g} to {expected.peak:,.4g} turns/s in {_time(expected.climb_s)}, for {_time(expected.hold_s)}",
    )
    table.add_row("calls", f"{expected.service.mean_s:.1f} s on average, {fleet.servers:,} at once")
    table.add_row("pods", f"{fleet.min_pods} at rest, {fleet.pods} at the peak, {fleet.max_pods} at most")
    if expected.opens is not None:
        begins = expected.after_opening(-fleet.early_s)
        table.add_row("pre-scale", f"{fleet.pods} pods from {begins:%Y-%m-%d %H:%M} on, {expected.timezone}")
    of = "" if fleet.allowed >= expected.peak else f" of {fleet.allowed:,.0f} turns/s"
    steady, wanted = _time(fleet.steady_wait_s()), _time(expected.wait_s)
    table.add_row("waiting at the peak", f"p{100 * expected.wait_share:g} {steady}{of} by Erlang C, {wanted} wanted")
    for quota in plan.quotas:
        name = quota.model if len(plan.quotas) > 1 else "quota"
        table.add_row(name, f"{quota.requests_needed:,.0f} requests a minute{_given(quota.requests_given)}")
        table.add_row("", f"{quota.tokens_needed:,.0f} tokens a minute{_given(quota.tokens_given)}")
    if spent is None:
        table.add_row("money", "not known: add the model's price by FOREBAY_CATALOGUE")
    else:
        table.add_row(
            "money",
            f"{spent.sale_usd:,.2f} USD the sale of {spent.sale_turns:,.0f} turns, {spent.day_usd:,.2f} the day",
        )
    return table


def _advice(plan: Plan) -> Table:
    table = Table.grid(padding=(0, 1))
    for line in plan.advice:
        table.add_row("-", escape(line))
    return table


def _given(quota: float | None) -> str:
    return "" if quota is None else f", {quota:,.0f} given"


def _waiting(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("waiting in the spike", no_wrap=True)
    for column in ("p50", "p99", "longest", "most turns", "drained", "expired"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, sale in (("autoscaler alone", plan.unprepared), ("pods there before it", plan.prepared)):
        spike = sale.spike
        longest = (_time(seconds) for seconds in (spike.p50_s, spike.p99_s, spike.max_s))
        table.add_row(name, *longest, f"{sale.peak_waiting:,}", _drained(plan, sale), f"{sale.expired:,}")
    return table


def _drained(plan: Plan, sale: Simulated) -> str:
    """After the opening; a few turns that wait for a moment are no backlog."""
    if sale.drained_at_s is None or sale.peak_waiting < plan.expected.peak:
        return "-"
    return f"+{_time(sale.drained_at_s - plan.opens_s / plan.expected.speed)}"


def _bounds(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("breaks", no_wrap=True)
    table.add_column("at turns/s", justify="right", no_wrap=True)
    table.add_column("")
    for bound in plan.bounds:
        style = "red" if bound.turns_per_s < plan.expected.peak else ""
        table.add_row(bound.resource, f"{bound.turns_per_s:,.0f}", bound.why, style=style)
    return table


def _time(seconds: float) -> str:
    if seconds >= 600:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def as_json(plan: Plan, values: Mapping[str, str]) -> dict[str, Any]:
    """The plan as data for JSON; docs/planning.md says what each name means."""
    expected, fleet = plan.expected, plan.fleet
    breaks = plan.bounds[0]
    return {
        "peak_turns_per_s": expected.peak,
        "holds": plan.holds,
        "breaks_first": breaks.resource,
        "breaks_at_turns_per_s": breaks.turns_per_s,
        "service_mean_s": expected.service.mean_s,
        "service_scv": expected.service.scv,
        "calls_at_once_needed": fleet.servers,
        "pods": fleet.pods,
        "min_pods": fleet.min_pods,
        "max_pods": fleet.max_pods,
        "concurrency": expected.concurrency,
        "partitions": fleet.partitions,
        "pre_scale_s": fleet.early_s,
        "steady_wait_s": fleet.steady_wait_s(),
        "simulated_hold_s": plan.hold_s,
        "autoscaler_alone": _sale(plan, plan.unprepared),
        "pre_scaled": _sale(plan, plan.prepared),
        "quotas": [
            {
                "model": quota.model,
                "share": quota.share,
                "rpm_needed": quota.requests_needed,
                "rpm_given": quota.requests_given,
                "tpm_needed": quota.tokens_needed,
                "tpm_given": quota.tokens_given,
            }
            for quota in plan.quotas
        ],
        "money": _money(plan),
        "bounds": [bound._asdict() for bound in plan.bounds],
        "advice": list(plan.advice),
        "kustomize": dict(values),
    }


def _sale(plan: Plan, sale: Simulated) -> dict[str, Any]:
    opened = plan.opens_s / plan.expected.speed
    return {
        "waiting_p50_s": sale.spike.p50_s,
        "waiting_p99_s": sale.spike.p99_s,
        "waiting_max_s": sale.spike.max_s,
        "peak_waiting": sale.peak_waiting,
        "peak_waiting_after_s": sale.peak_waiting_at_s - opened,
        "drained_after_s": None if sale.drained_at_s is None else sale.drained_at_s - opened,
        "expired": sale.expired,
        "called_again": sale.called_again,
        "peak_pods": sale.peak_pods,
        "peak_in_flight": sale.peak_in_flight,
        "rebalances": sale.rebalances,
    }


def _money(plan: Plan) -> dict[str, Any] | None:
    spent = plan.money
    if spent is None:
        return None
    return {
        "usd_a_turn": spent.usd_a_turn,
        "sale_turns": spent.sale_turns,
        "sale_usd": spent.sale_usd,
        "day_turns": spent.day_turns,
        "day_usd": spent.day_usd,
        "sale_usd_by_model": dict(spent.by_model_usd),
    }
