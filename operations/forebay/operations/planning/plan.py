"""Plan: what an expected sale needs, what it will be like, and what breaks first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from forebay.workers.models import Catalogue

from .advice import advice
from .bounds import Bound, bounds
from .expected import Expected
from .money import Money, money
from .quota import QuotaNeed, allowed, calls_per_s, quotas
from .simulated import Simulated
from .simulation import simulate
from .sizing import FleetSize

_HOLD_S = 600.0
"""Of the peak that is simulated where the fleet keeps up with it: longer shows nothing new."""
_MOST_TURNS = 500_000
"""That are simulated, three or four seconds each time; what is left of the peak where it does not keep up is not seen."""
_LEAST_HOLD_S = 60.0
_CALM_S = 120.0
"""Simulated before pods are wished for, so that the opening finds calls under way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `forebay plan` prints."""

    expected: Expected
    fleet: FleetSize
    quotas: tuple[QuotaNeed, ...]
    money: Money | None
    bounds: tuple[Bound, ...]
    unprepared: Simulated
    """The sale with the autoscaler alone."""
    prepared: Simulated
    """The sale with pods that are there before it opens."""
    opens_s: float
    """When it opens in both."""
    hold_s: float
    """How long the peak lasts in both."""
    advice: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether, with pre-scaling, the wanted share of the peak's turns waits no longer than wanted, and none expires."""
        return (
            self.prepared.spike.percentile_s(self.expected.wait_share) <= self.expected.wait_s
            and not self.prepared.expired
        )


def plan(expected: Expected, catalogue: Catalogue) -> Plan:
    """Plans a sale. Raises ValueError for what no fleet can do, SettingsError for a model that the catalogue lacks."""
    needed = quotas(expected)
    fleet = FleetSize.of(expected, allowed(expected, needed))
    spent = money(expected, catalogue)
    found = bounds(expected, fleet, needed, spent)
    opens_s, hold_s = fleet.early_s + _CALM_S, _hold_s(expected, fleet)
    unprepared, prepared = _sales(expected, fleet, opens_s, hold_s)
    said = advice(expected, fleet, needed, found, unprepared, prepared)
    return Plan(expected, fleet, needed, spent, found, unprepared, prepared, opens_s, hold_s, tuple(said))


def _hold_s(expected: Expected, fleet: FleetSize) -> float:
    keeps_up = min(fleet.allowed, fleet.rate_of(fleet.pods)) >= expected.peak
    most = max(_LEAST_HOLD_S, _MOST_TURNS / expected.peak - expected.climb_s / 2)
    return min(expected.hold_s, most, _HOLD_S if keeps_up else math.inf)


def _sales(expected: Expected, fleet: FleetSize, opens_s: float, hold_s: float) -> Iterator[Simulated]:
    traffic = expected.excerpt(opens_s, hold_s).faster(expected.speed)
    for scaling in (fleet.scaling, fleet.pre_scaled(opens_s)):
        yield simulate(
            traffic,
            expected.service,
            scaling.faster(expected.speed),
            concurrency=expected.concurrency,
            partitions=fleet.partitions,
            conversations=expected.conversations,
            drain_s=fleet.drain_s,
            turn_ttl_s=expected.turn_ttl_s,
            requests_per_s=calls_per_s(expected),
            calls_at_once=expected.calls_at_once,
        )
