"""Totals over all workers of a fleet: the state of each model, and the money spent. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from forebay.schemas import Spending, WorkerState


def models_of(states: Iterable[WorkerState]) -> list[dict[str, Any]]:
    """State of each model over all workers, those in trouble first."""
    found: dict[str, dict[str, Any]] = {}
    for state in states:
        for model in state.models:
            one = found.setdefault(
                model.name,
                {"name": model.name, "closed": 0, "half_open": 0, "open": 0, "reason": "", "quota_left": 1.0},
            )
            one[model.breaker] += 1
            one["quota_left"] = round(min(one["quota_left"], model.quota_left), 3)
            if model.breaker != "closed":
                one["reason"] = model.reason[:300]
    return sorted(found.values(), key=lambda one: (-one["open"], -one["half_open"], one["name"]))


def spending_of(spendings: Iterable[Spending]) -> dict[str, Any]:
    """Money spent by all workers. An amount that they share is reported by each of them, and counts once."""
    spendings = list(spendings)
    shared = [one for one in spendings if one.shared]
    own = [one for one in spendings if not one.shared]

    def amount(name: str) -> float:
        largest: float = max((getattr(one, name) for one in shared), default=0.0)
        added: float = sum(getattr(one, name) for one in own)
        return round(largest + added, 6)

    def ceiling(name: str) -> float | None:
        return min((value for one in spendings if (value := getattr(one, name)) is not None), default=None)

    return {
        "hour_usd": amount("hour_usd"),
        "day_usd": amount("day_usd"),
        "hour_ceiling_usd": ceiling("hour_ceiling_usd"),
        "day_ceiling_usd": ceiling("day_ceiling_usd"),
        "shared": bool(shared),
    }
