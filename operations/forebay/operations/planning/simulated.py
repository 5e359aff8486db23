"""What a simulated sale was like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from forebay.telemetry.percentile import percentile_of_sorted


class SimulatedSample(NamedTuple):
    """The sale at one moment; rates are averages since the previous sample."""

    at_s: float
    offered: float
    """Turns a second that customers sent."""
    answered: float
    """Turns a second that were answered."""
    waiting: int
    """Turns sent for which no model was called yet."""
    ready: int
    """Of those, turns that wait for a worker or the provider, not for an earlier turn of their own conversation."""
    in_flight: int
    pods: int
    """Pods that take turns."""
    lag: int
    """The group's lag, as the autoscaler sees it."""


@dataclass(frozen=True, slots=True)
class WaitingTimes:
    """Seconds from sending to the (last) call of a model; a turn that expired counts until then."""

    mean_s: float
    permille_s: tuple[float, ...]
    """The times below which 0, 1, 2 ... 1,000 of a thousand turns waited, by nearest rank."""

    @classmethod
    def of(cls, waited: Sequence[float]) -> Self:
        """Of any number of turns; zeros for none."""
        ordered = sorted(waited) or [0.0]
        permille = tuple(percentile_of_sorted(ordered, n / 1000) for n in range(1001))
        return cls(sum(ordered) / len(ordered), permille)

    def percentile_s(self, share: float) -> float:
        """The time that this share of the turns waited no longer than, to a thousandth of them."""
        return self.permille_s[round(1000 * share)]

    @property
    def p50_s(self) -> float:
        """The median."""
        return self.permille_s[500]

    @property
    def p99_s(self) -> float:
        """The 99th percentile."""
        return self.permille_s[990]

    @property
    def max_s(self) -> float:
        """The longest."""
        return self.permille_s[1000]


@dataclass(frozen=True, slots=True)
class Simulated:
    """A sale from its first turn to its last answer."""

    samples: tuple[SimulatedSample, ...]
    turns: int
    """Offered."""
    answered: int
    expired: int
    """Turns whose time to live had passed before a model was called."""
    calls: int
    """Model calls begun, those for turns that were called for again among them."""
    called_again: int
    """Calls cut off because their partition moved to another pod, and made anew there."""
    waiting: WaitingTimes
    """Of all turns."""
    spike: WaitingTimes
    """Of the turns offered while the rate was above that of the beginning; of all where it never was."""
    peak_waiting: int
    peak_waiting_at_s: float
    drained_at_s: float | None
    """When for the first time after the most `SimulatedSample.ready` turns none was; None where there never were any."""
    peak_in_flight: int
    """Most model calls under way at once."""
    peak_pods: int
    """Most pods that took turns at once."""
    rebalances: int
    ended_s: float
    """When the last turn was done."""
