"""The prediction: what the plan's simulation says of the same sale, beside what was measured. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rehearsal.capacity.service_time import ServiceTime
from rehearsal.capacity.simulation import simulate

from .figures import Figures

_LEAST_S = 0.25
_LEAST_TURNS = 10.0
"""Two numbers nearer than these are the same for a person who plans a sale."""


class Compared(NamedTuple):
    """One figure, as it was predicted and as it was measured."""

    name: str
    predicted: float
    measured: float
    error: float
    """How far the prediction is off, as a share of what was measured."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was said of a sale beforehand."""

    compared: tuple[Compared, ...]
    waiting: Sequence[tuple[float, float]]
    """(time, turns waiting) as predicted."""

    @property
    def worst(self) -> float:
        """The largest error."""
        return max((each.error for each in self.compared), default=0.0)


def predict(figures: Figures) -> Prediction | None:
    """The simulation of the sale that was held, from nothing but its scenario and how long a worker takes to start.

    None where the scenario is beyond what is simulated: a real provider or one that counts tokens, faults, recorded turns,
    customers who wait for replies, an assistant whose turns are not one model call each.
    """
    outcome = figures.outcome
    scenario = outcome.scenario
    part, models = scenario.workers, scenario.models
    beyond = (
        models.real
        or models.tokens_per_minute
        or scenario.faults
        or part.assistant
        or scenario.traffic.shape == "recorded"
        or scenario.customers.turns_a_visit > 1
    )
    if beyond:
        return None
    scaling = part.scaling().faster(scenario.speed)
    scaling = replace(scaling, pod_start_s=max(scaling.pod_start_s, outcome.start_s))
    said = simulate(
        outcome.traffic,
        ServiceTime(models.latency.p50, models.latency.p99),
        scaling,
        concurrency=part.concurrency,
        partitions=part.partitions,
        conversations=scenario.customers.conversations,
        skew=scenario.customers.skew,
        turn_ttl_s=float(part.settings.get("SPILLWAY_TURN_TTL_S", 120)),
        calls_at_once=models.max_in_flight,
        requests_per_s=None if models.requests_per_minute is None else models.requests_per_minute / 60,
    )
    measured = figures.table()
    pairs = {
        "peak_waiting": (float(said.peak_waiting), measured["peak_waiting"], _LEAST_TURNS),
        "waited_p50_s": (said.waiting.p50_s, measured["waited_p50_s"], _LEAST_S),
        "waited_p99_s": (said.waiting.p99_s, measured["waited_p99_s"], _LEAST_S),
        "drained_at_s": (said.drained_at_s, measured["drained_at_s"], _LEAST_S),
        "peak_pods": (float(said.peak_pods), measured["peak_pods"], 0.0),
        "total": (float(said.turns), measured["total"], _LEAST_TURNS),
    }
    compared = tuple(
        Compared(name, predicted, real, _error(predicted, real, least))
        for name, (predicted, real, least) in pairs.items()
        if predicted is not None and real is not None
    )
    return Prediction(compared, tuple((sample.at_s, float(sample.waiting)) for sample in said.samples))


def _error(predicted: float, measured: float, least: float) -> float:
    if abs(predicted - measured) <= least:
        return 0.0
    return abs(predicted - measured) / measured if measured else 1.0
