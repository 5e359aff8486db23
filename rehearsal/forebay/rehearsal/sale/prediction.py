"""The prediction: what the plan's simulation says of the same sale, beside what was measured. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, pstdev
from typing import NamedTuple

from forebay.operations.planning.service_time import ServiceTime
from forebay.operations.planning.simulated import Simulated
from forebay.operations.planning.simulation import simulate

from .figures import SaleFigures
from .observations import Observations
from .waiting_curve import WaitingCurve

_SEEDS = range(5)
_SAMPLE_S = 0.25
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


def predict(figures: SaleFigures) -> Prediction | None:
    """The simulation of the sale that was held.

    It knows what a planner does: the scenario, how long a worker takes to start, and how long a model call takes as workers
    measure it. Customers come at other moments, in so many ways; their mean is the prediction.

    None where the scenario is beyond what is simulated: a real provider or one that counts tokens, faults, recorded turns,
    customers who wait for replies, an assistant whose turns are not one model call each.
    """
    scenario = figures.outcome.scenario
    models = scenario.models
    beyond = (
        models.real
        or models.tokens_per_minute
        or scenario.faults
        or scenario.workers.assistant
        or scenario.traffic.shape == "recorded"
        or scenario.customers.turns_a_visit > 1
        or scenario.customers.patience
    )
    model_s = [answer.model_s for answer in figures.outcome.answers if answer.model_s]
    if beyond or len(model_s) < 2:
        return None
    said = [
        _simulated(figures.outcome, ServiceTime.of(mean(model_s), pstdev(model_s) / mean(model_s)), s) for s in _SEEDS
    ]
    measured = figures.table
    compared = tuple(
        Compared(name, predicted, real, _error(predicted, real, least))
        for name, (value, least) in _COMPARED.items()
        if (predicted := _mean([value(one) for one in said])) is not None and (real := measured[name]) is not None
    )
    return Prediction(compared, tuple((sample.at_s, float(sample.waiting)) for sample in said[0].samples))


def _simulated(outcome: Observations, service: ServiceTime, seed: int) -> Simulated:
    scenario, scaling = outcome.scenario, outcome.scenario.scaling()
    models, part, settings = scenario.models, scenario.workers, scenario.workers.settings
    return simulate(
        outcome.traffic,
        service,
        replace(scaling, pod_start_s=max(scaling.pod_start_s, outcome.start_s)),
        concurrency=part.concurrency,
        partitions=part.partitions,
        conversations=scenario.customers.conversations,
        skew=scenario.customers.skew,
        turn_ttl_s=float(settings.get("FOREBAY_TURN_TTL_S", 120)),
        patience_s=float(settings["FOREBAY_PATIENCE_S"]) if "FOREBAY_PATIENCE_S" in settings else None,
        calls_at_once=models.max_in_flight,
        requests_per_s=None if models.requests_per_minute is None else models.requests_per_minute / 60,
        sample_s=_SAMPLE_S,
        seed=seed,
    )


def _drained_at(said: Simulated) -> float | None:
    """By the same rule as of what is measured."""
    samples = said.samples
    return WaitingCurve(tuple(each.at_s for each in samples), tuple(each.waiting for each in samples)).drained_at


_COMPARED: dict[str, tuple[Callable[[Simulated], float | None], float]] = {
    "peak_waiting": (lambda said: said.peak_waiting, _LEAST_TURNS),
    "waited_p50_s": (lambda said: said.waiting.p50_s, _LEAST_S),
    "waited_p99_s": (lambda said: said.waiting.p99_s, _LEAST_S),
    "drained_at_s": (_drained_at, _LEAST_S),
    "peak_pods": (lambda said: said.peak_pods, 0.0),
    "total": (lambda said: said.turns, _LEAST_TURNS),
}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _error(predicted: float, measured: float, least: float) -> float:
    if abs(predicted - measured) <= least:
        return 0.0
    return abs(predicted - measured) / measured if measured else 1.0
