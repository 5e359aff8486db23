"""Kustomize: the plan as the one file of an overlay from which all values that depend on each other are taken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import yaml

from .expected import Expected
from .sizing import FleetSize

_NEVER = "0 0 29 2 *"
"""Cron needs some moment; without an opening the trigger asks for no more than the minimum then."""


def values(expected: Expected, fleet: FleetSize) -> dict[str, str]:
    """The overlay's values, by name; cron expressions in `Expected.timezone`."""
    start, end = _NEVER, "0 1 29 2 *"
    if expected.opens is not None:
        start = _cron(expected.after_opening(-fleet.early_s))
        end = _cron(expected.after_opening(expected.climb_s + expected.hold_s))
    numbers = {
        "partitions": fleet.partitions,
        "concurrency": expected.concurrency,
        "lag_threshold": fleet.lag_threshold,
        "min_replicas": fleet.min_pods,
        "max_replicas": fleet.max_pods,
        "fallback_replicas": fleet.pods,
        "pre_scale_replicas": fleet.min_pods if expected.opens is None else fleet.pods,
        "pre_scale_start": start,
        "pre_scale_end": end,
        "timezone": expected.timezone,
        "drain_s": fleet.drain_s,
        "grace_s": fleet.grace_s,
        "turn_ttl_s": f"{expected.turn_ttl_s:g}",
        "oldest_waiting_s": fleet.oldest_waiting_s,
        "gateway_replicas": fleet.gateways,
    }
    return {name: str(value) for name, value in numbers.items()}


def manifest(data: Mapping[str, str], command: str) -> str:
    """The ConfigMap, which kustomize reads and never deploys; ``command`` is what made it."""
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "forebay-plan",
            "annotations": {"config.kubernetes.io/local-config": "true"},
        },
        "data": dict(data),
    }
    return f"# {' '.join(command.split())}\n" + yaml.safe_dump(document, sort_keys=False)


def kept_partitions(file: Path, wanted: int | None) -> int | None:
    """Partitions to plan with: those of the plan in ``file`` if there is one, since its topics were made so.

    ``wanted`` is what was asked for. Raises ValueError where the file is no plan, or has others.
    """
    if not file.exists():
        return wanted
    try:
        there = partitions_of(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--kustomize {file}: {error}: delete it, or name another") from None
    if wanted not in (None, there):
        raise ValueError(
            f"--partitions {wanted}: {file} has {there}, and a topic never gets others, which would break the order of"
            " conversations; leave the option out, or delete the file if there is no topic yet"
        )
    return there


def partitions_of(text: str) -> int:
    """The partitions of a plan that was written before. Raises ValueError for a file that is no plan."""
    try:
        return int(yaml.safe_load(text)["data"]["partitions"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise ValueError("is no plan that this command wrote") from None


def _cron(at: datetime) -> str:
    """That minute of that day, every year."""
    return f"{at.minute} {at.hour} {at.day} {at.month} *"
