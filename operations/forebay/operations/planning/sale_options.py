"""Reads what people write of an expected sale, such as ``p50=3,p99=20`` or ``20M``. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from .expected import Expected
from .quantities import rate, seconds
from .service_time import ServiceTime

Value = TypeVar("Value")

_THOUSANDS = {"": 1, "k": 1_000, "m": 1_000_000}
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([km]?)", re.IGNORECASE)
_SHARE = re.compile(r"p(\d{2}(?:\.\d+)?)")


def expected_of(said: Mapping[str, Any]) -> Expected:
    """The sale that options describe, by their names; None is an option that was not given. Raises ValueError."""
    given = {name: value for name, value in said.items() if value is not None}
    fields: dict[str, Any] = {}
    for name, value in given.items():
        fields |= _read(name, value)
    fields.setdefault("calm", fields["peak"] / 40)
    return Expected(**fields)


def _read(name: str, value: Any) -> dict[str, Any]:
    understand = _UNDERSTOOD.get(name)
    if understand is None:
        return {name: value}
    try:
        return understand(value)
    except ValueError as error:
        raise ValueError(f"--{name.replace('_', '-')} {value!r}: {error}") from None


def _latency(text: str) -> dict[str, Any]:
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
