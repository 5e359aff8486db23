"""Comparisons: the same sale twice, with one thing different. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from . import large_model
from .scenario import PatiencePart, Scenario

_SHOP = "forebay.rehearsal.shop.assistant:assistant"


Comparison = Literal["streamed", "routing", "impatience"]
"""What differs: plain answers, then streamed ones; or one large model for all, then the assistant that routes turns to the
FAQ, specialists, and models of a size; or a plain service, then workers who hear nothing of customers who leave or write
again, then workers who do."""

CROWD: Mapping[str, Any] = {
    "name": "impatient customers",
    "speed": 1,
    "traffic": {"shape": "sustained", "peak": 20, "holds": 60},
    "customers": {"patience": {}},
    "models": {"latency": {"p50": 1.0, "p99": 1.6}, "max_in_flight": 10},
    "workers": {"least": 1, "most": 1, "concurrency": 10},
}
"""The scenario of ``impatience`` where none is given: for a minute twice as many as a provider of ten calls can serve."""


def variants(scenario: Scenario, comparison: Comparison | None, large: str) -> list[tuple[str, Scenario]]:
    """Name and scenario of each sale, the one that is meant to be last. ``large`` is the model of one for all."""
    if comparison is None:
        return [("", scenario)]
    if comparison == "streamed":
        return [
            (name, _with(scenario, "customers", streamed=streamed))
            for name, streamed in (("plain", False), ("streamed", True))
        ]
    if comparison == "impatience":
        return _impatience(scenario)
    routed = scenario.workers.assistant or _SHOP
    settings = {**scenario.workers.settings, large_model.OF: routed, large_model.MODEL: large}
    return [
        ("one large model", _with(scenario, "workers", assistant=large_model.NAME, settings=settings)),
        ("routing", _with(scenario, "workers", assistant=routed)),
    ]


def _impatience(scenario: Scenario) -> list[tuple[str, Scenario]]:
    given = scenario.customers.patience or PatiencePart()
    told = _with(scenario, "customers", patience=given, when_busy=scenario.customers.when_busy or "merge")
    untold = _with(told, "customers", patience=given.model_copy(update={"tell": 0.0}), when_busy="enqueue")
    plain = untold.model_copy(update={"service": "plain", "faults": ()})
    return [("plain service", plain), ("untold", untold), ("cancelled and merged", told)]


def _with(scenario: Scenario, part: str, **fields: object) -> Scenario:
    return scenario.model_copy(update={part: getattr(scenario, part).model_copy(update=fields)})
