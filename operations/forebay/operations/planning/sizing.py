"""Fleet: pods, partitions and replicas for an expected sale, and the times that belong to them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .autoscaler import PreScale, Scaling
from .erlang import fewest_servers, wait_s
from .expected import Expected
from .simulation import REBALANCE_S

USE = 0.8
"""Share of its calls at once at which a pod is to work; the rest is for turns that come in clusters."""
HEADROOM = 1.25
"""Most pods for so much more than the peak: a node that dies, a forecast that was low."""
_GROWTH = 3
"""Partitions for each of the most pods: they can never be more without breaking the order of conversations."""
_PARTITIONS = (12, 24, 36, 48, 60, 72, 96, 120, 144, 180, 240, 360, 480, 720, 960, 1_440, 1_920, 2_880, 3_840, 5_760)
"""Numbers with many divisors: fleets of many sizes share them evenly."""
_MUCH_MORE = 1.2
"""Times the most pods needed, beyond which it is worth more partitions to have fewer."""
_CLOSE_S = 35
"""After the last call a worker may take so long to leave while Kafka is away: 5 s for replies that cannot be published, and
six things to close, of forebay.workers.engine.closing.CLOSE_S each."""
_LEAST_DRAIN_S, _MOST_DRAIN_S = 25, 60
"""As shipped, and FOREBAY_CALL_TIMEOUT_S: no call lasts longer."""
GATEWAY_TURNS = 500.0
"""FOREBAY_GATEWAY_TURNS_A_SECOND, as shipped: what one gateway lets in."""
_GATEWAY_CUSTOMERS = 10_000
"""Open connections at which one gateway was measured (docs/gateway.md, "Measured")."""


@dataclass(frozen=True)
class FleetSize:
    """Times in seconds."""

    expected: Expected
    allowed: float
    """Turns a second that the provider takes."""
    servers: int
    """Calls at once that the peak needs by Erlang C, if any free one could take any turn."""
    pods: int
    """For the peak, or for as much of it as the provider takes."""
    min_pods: int
    max_pods: int
    partitions: int

    @classmethod
    def of(cls, expected: Expected, allowed: float) -> FleetSize:
        """The fewest pods that keep to the wait that is wanted. Raises ValueError for more than Kafka can deal out."""
        peak, grown, given = min(expected.peak, allowed), min(expected.peak * HEADROOM, allowed), expected.partitions
        least = max(2, _pods_for(expected, min(expected.calm, allowed), given) + 1)  # one may die
        pods, most = (max(least, _pods_for(expected, rate, given)) for rate in (peak, grown))
        partitions, pods, most = _dealt(pods, most) if given is None else (given, pods, min(most, given))
        if pods > partitions:
            raise ValueError(
                f"{pods} pods are needed and a topic of {partitions} partitions serves no more than {partitions}: "
                "raise the concurrency of a pod, or begin a topic with more"
            )
        servers = fewest_servers(peak * expected.asked, expected.service, expected.wait_s, expected.wait_share)
        return cls(expected, allowed, servers, pods, least, most, partitions)

    @property
    def lag_threshold(self) -> int:
        """Turns waiting or in flight for each pod, which KEDA scales to."""
        return max(1, round(USE * self.expected.concurrency))

    @property
    def scaling(self) -> Scaling:
        """Without pre-scaling."""
        return Scaling(
            min_pods=self.min_pods,
            max_pods=self.max_pods,
            lag_threshold=self.lag_threshold,
            pod_start_s=self.expected.pod_start_s,
        )

    def pre_scaled(self, opens_s: float) -> Scaling:
        """The same for a sale that opens then: the peak's pods from before it opens until it falls."""
        expected = self.expected
        until = opens_s + expected.climb_s + expected.hold_s
        return replace(self.scaling, pre_scale=PreScale(opens_s - self.early_s, until, self.pods))

    @property
    def early_s(self) -> int:
        """How long before the opening the pods must be asked for, in seconds of whole minutes.

        As many looks as the policy's steps need, a pod's start and the rebalance; half as much again, and a minute, for
        images and nodes that take longer.
        """
        scaling, pods, looks = self.scaling, self.min_pods, 0
        while pods < self.pods:
            pods = max(pods + scaling.up_pods, math.ceil(pods * (1 + scaling.up_percent / 100)))
            looks += 1
        takes = looks * scaling.every_s + scaling.pod_start_s + REBALANCE_S
        return 60 * math.ceil((1.5 * takes + 60) / 60)

    @property
    def drain_s(self) -> int:
        """FOREBAY_DRAIN_S: all but one call in a thousand end within it; in steps of 5."""
        longest = 5 * math.ceil(self.expected.service.percentile_s(0.999) / 5)
        return min(_MOST_DRAIN_S, max(_LEAST_DRAIN_S, longest))

    @property
    def grace_s(self) -> int:
        """terminationGracePeriodSeconds."""
        return self.drain_s + _CLOSE_S

    @property
    def oldest_waiting_s(self) -> int:
        """Age of the oldest waiting turn at which pods are added whatever the lag: what is wanted of all but 1%, twice."""
        return max(1, math.ceil(min(2 * self.expected.wait_s, self.expected.turn_ttl_s / 2)))

    @property
    def gateways(self) -> int:
        """Two, or more where their rate limits or their connections need it."""
        by_rate = math.ceil(self.expected.peak / (USE * GATEWAY_TURNS))
        return max(2, by_rate, math.ceil((self.expected.conversations or 0) / _GATEWAY_CUSTOMERS))

    def rate_of(self, pods: int) -> float:
        """Turns a second that so many pods can answer, those with most partitions being the first that cannot."""
        each = self.expected.concurrency / self.expected.service.mean_s
        return each / self._share(pods) / self.expected.asked

    def steady_wait_s(self) -> float:
        """By Erlang C: how long the wanted share of turns waits at the peak, once all pods are there."""
        expected = self.expected
        rate = min(expected.peak, self.allowed) * expected.asked
        return wait_s(expected.wait_share, expected.concurrency, rate * self._share(self.pods), expected.service)

    def _share(self, pods: int) -> float:
        """Of all turns, at the pods that have most partitions."""
        return math.ceil(self.partitions / pods) / self.partitions


def _pods_for(expected: Expected, rate: float, partitions: int | None) -> int:
    """Each pod has its own turns, so each is a queue of its own: fewer would do if all shared one.

    With ``partitions`` that some share unevenly, those that have most of them count.
    """
    asked = rate * expected.asked
    pods = max(1, math.ceil(asked * expected.service.mean_s / expected.concurrency))
    most = partitions or _PARTITIONS[-1] // _GROWTH
    while pods <= most:
        share = 1 / pods if partitions is None else math.ceil(partitions / pods) / partitions
        if wait_s(expected.wait_share, expected.concurrency, asked * share, expected.service) <= expected.wait_s:
            break
        pods += 1
    return pods


def _dealt(pods: int, most: int) -> tuple[int, int, int]:
    """(partitions, pods, most pods): partitions that both share evenly, with as few pods more than needed as can be."""
    candidates = [number for number in _PARTITIONS if _GROWTH * most <= number <= max(12, 4 * _GROWTH * most)]
    if not candidates:
        raise ValueError(
            f"{most:,} pods are more than one topic serves well: raise the concurrency of a pod, or shorten the calls"
        )
    fitting = [(_divisor(number, pods), _divisor(number, most), number) for number in candidates]
    pods, most, partitions = min(fitting, key=lambda fits: (fits[0], fits[1] > _MUCH_MORE * most, fits[2]))
    return partitions, pods, most


def _divisor(number: int, least: int) -> int:
    return next(divisor for divisor in range(least, number + 1) if number % divisor == 0)
