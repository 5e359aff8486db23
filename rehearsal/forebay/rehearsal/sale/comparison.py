"""Comparisons: the same sale twice, with one thing different. Pure."""

from __future__ import annotations

from typing import Literal

from . import large_model
from .scenario import Scenario

_SHOP = "forebay.rehearsal.shop.assistant:assistant"


Comparison = Literal["streamed", "routing"]
"""What differs: plain answers, then streamed ones; or one large model for all, then the assistant that routes turns to the
FAQ, specialists, and models of a size."""


def variants(scenario: Scenario, comparison: Comparison | None, large: str) -> list[tuple[str, Scenario]]:
    """Name and scenario of each sale, the one that is meant to be last. ``large`` is the model of one for all."""
    if comparison is None:
        return [("", scenario)]
    if comparison == "streamed":
        return [
            (name, _with(scenario, "customers", streamed=streamed))
            for name, streamed in (("plain", False), ("streamed", True))
        ]
    routed = scenario.workers.assistant or _SHOP
    settings = {**scenario.workers.settings, large_model.OF: routed, large_model.MODEL: large}
    return [
        ("one large model", _with(scenario, "workers", assistant=large_model.NAME, settings=settings)),
        ("routing", _with(scenario, "workers", assistant=routed)),
    ]


def _with(scenario: Scenario, part: str, **fields: object) -> Scenario:
    return scenario.model_copy(update={part: getattr(scenario, part).model_copy(update=fields)})
