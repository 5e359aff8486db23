"""``forebay plan``: what people say of a sale, understood, and the plan as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import typer

from forebay.operations.planning.quantities import rate, seconds

if TYPE_CHECKING:
    from forebay.operations.planning.expected import Expected
    from forebay.operations.planning.plan import Plan
    from forebay.operations.planning.simulated import Simulated

Value = TypeVar("Value")

_THOUSANDS = {"": 1, "k": 1_000, "m": 1_000_000}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([km]?)", re.IGNORECASE)
_SHARE = re.compile(r"p(\d{2}(?:\.\d+)?)")


def expected_of(said: Mapping[str, Any]) -> Expected:
    """What the options say, by their names; None is an option that was not given. Raises typer.BadParameter."""
    from forebay.operations.planning.expected import Expected

    given = {name: value for name, value in said.items() if value is not None}
    fields: dict[str, Any] = {}
    for name, value in given.items():
        fields |= _read(name, value)
    fields.setdefault("calm", fields["peak"] / 40)
    try:
        return Expected(**fields)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _read(name: str, value: Any) -> dict[str, Any]:
    understand = _UNDERSTOOD.get(name)
    if understand is None:
        return {name: value}
    try:
        return understand(value)
    except ValueError as error:
        raise typer.BadParameter(f"--{name.replace('_', '-')} {value!r}: {error}") from None


def _latency(text: str) -> dict[str, Any]:
    from forebay.operations.planning.service_time import ServiceTime

    parts = _pairs(text, seconds, "p50=3,p99=20", required=("p50", "p99"))
    return {"service": ServiceTime(parts["p50"], parts["p99"])}


def _tokens(text: str) -> dict[str, Any]:
    parts = _pairs(text, _count, "in=900,out=120, and perhaps cached=2000", required=("in", "out"), also=("cached",))
    return {
        "input_tokens": round(parts["in"]),
        "output_tokens": round(parts["out"]),
        "cached_tokens": round(parts.get("cached", 0)),
    }


def _wait(text: str) -> dict[str, Any]:
    which, _, how_long = text.partition("=")
    share = _SHARE.fullmatch(which.strip())
    if share is None or not how_long:
        raise ValueError("write a percentile and a time, such as p99=5 or p95=2s")
    return {"wait_share": float(share[1]) / 100, "wait_s": seconds(how_long)}


def _models(texts: list[str]) -> dict[str, Any]:
    if len(texts) == 1 and "=" not in texts[0]:
        return {"models": ((texts[0], 1.0),)}
    shares = []
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            shares.append((name, float(share)))
        except ValueError:
            raise ValueError("write NAME=SHARE for each of several models, such as claude-haiku-5-5=0.7") from None
    return {"models": tuple(shares)}


def _opens(text: str) -> dict[str, Any]:
    try:
        opens = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write the local time of --timezone, such as '2026-11-27 00:00'") from None
    if opens.tzinfo is not None:
        raise ValueError("write the local time without an offset, and --timezone beside it")
    return {"opens": opens}


def _timezone(text: str) -> dict[str, Any]:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError("is no time zone that this machine knows: write one such as Asia/Shanghai") from None
    return {"timezone": text}


def _count(text: str) -> float:
    """A number, with k or M behind it for thousands or millions."""
    found = _COUNT.fullmatch(text.strip().replace(",", "").replace("_", ""))
    if found is None:
        raise ValueError("write a number such as 12000, 12k or 20M")
    return float(found[1]) * _THOUSANDS[found[2].lower()]


def _pairs(
    text: str, read: Callable[[str], Value], example: str, *, required: tuple[str, ...], also: tuple[str, ...] = ()
) -> dict[str, Value]:
    found = {name.strip(): value for name, _, value in (part.partition("=") for part in text.split(","))}
    if not set(required) <= found.keys() <= {*required, *also}:
        raise ValueError(f"write {example}")
    return {name: read(value) for name, value in found.items()}


def _as(field: str, read: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    return lambda text: {field: read(text)}


_UNDERSTOOD: dict[str, Callable[[Any], dict[str, Any]]] = {
    "peak": _as("peak", rate),
    "calm": _as("calm", rate),
    "climb": _as("climb_s", seconds),
    "hold": _as("hold_s", seconds),
    "latency": _latency,
    "tokens": _tokens,
    "wait": _wait,
    "model": _models,
    "rpm": _as("rpm", _count),
    "tpm": _as("tpm", _count),
    "faq": _as("faq_share", float),
    "budget": _as("budget_usd", float),
    "pod_start": _as("pod_start_s", seconds),
    "ttl": _as("turn_ttl_s", seconds),
    "opens": _opens,
    "timezone": _timezone,
}


def kept_partitions(file: Path | None, wanted: int | None) -> int | None:
    """Those that the plan in ``file`` has, if it is there: its topics were made so. Raises typer.BadParameter."""
    from forebay.operations.planning.kustomize import partitions_of

    try:
        there = None if file is None or not file.exists() else partitions_of(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"--kustomize {file}: {error}: delete it, or name another") from None
    if there is not None and wanted not in (None, there):
        raise typer.BadParameter(
            f"--partitions {wanted}: {file} has {there}, and a topic never gets others, which would break the order of"
            " conversations; leave the option out, or delete the file if there is no topic yet"
        )
    return wanted if there is None else there


def planned(expected: Expected) -> Plan:
    """The plan, by the catalogue of the settings. Raises SettingsError and typer.BadParameter."""
    from rich.console import Console

    from forebay.operations.planning.plan import plan
    from forebay.workers.models import Catalogue
    from forebay.workers.settings import WorkerSettings

    try:
        with Console(stderr=True).status("simulating the sale"):
            return plan(expected, Catalogue.load(WorkerSettings.read().catalogue))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def values_of(plan: Plan, file: Path | None, command: str) -> dict[str, str]:
    """What the overlay takes, written to the file where there is one. Raises OSError."""
    from forebay.operations.planning.kustomize import manifest, values

    found = values(plan.expected, plan.fleet)
    if file is not None:
        file.write_text(manifest(found, command), encoding="utf-8")
    return found


def as_json(plan: Plan, values: Mapping[str, str]) -> dict[str, Any]:
    """All of it, as data; docs/planning.md says what each name means."""
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
