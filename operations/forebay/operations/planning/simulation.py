"""Simulation: a sale, turn by turn, and a fleet that grows and shrinks as its autoscaler wants.

A discrete-event simulation of what workers do (docs/planning.md says what of it). Time and randomness are its own: the
same arguments give the same sale.
"""

from __future__ import annotations

import math
import random

from forebay.workers.engine.fairness import PATIENCE_SHARE

from .agenda import Agenda
from .autoscaler import Scaling
from .service_time import ServiceTime
from .simulated import Simulated, SimulatedSample, WaitingTimes
from .simulated_pods import Crew
from .simulated_provider import SimulatedProvider
from .simulated_topic import SimulatedTopic
from .simulated_work import SimulatedWork
from .traffic import Traffic

REBALANCE_S = 1.6
"""From a member that comes or goes to the new assignment: a heartbeat (0.5 s) until all know of it, a second for calls that
are nearly done (forebay.workers.engine.dispatch.REBALANCE_DRAIN_S), and the brokers' answers."""


def simulate(
    traffic: Traffic,
    service: ServiceTime,
    scaling: Scaling,
    *,
    concurrency: int,
    partitions: int | None = None,
    conversations: int | None = None,
    skew: float = 0.0,
    rebalance_s: float = REBALANCE_S,
    drain_s: float = 25.0,
    turn_ttl_s: float = 120.0,
    patience_s: float | None = None,
    requests_per_s: float | None = None,
    tokens_per_s: float | None = None,
    tokens_a_turn: float = 1_000.0,
    quota_window_s: float = 60.0,
    calls_at_once: int | None = None,
    sample_s: float = 1.0,
    seed: int = 11,
) -> Simulated:
    """A sale from its first turn to its last answer. Raises ValueError for what cannot be.

    Pods of ``concurrency`` calls share ``partitions`` (None: three for each of the most pods). A look of the autoscaler
    falls on every ``scaling.every_s`` from 0; pods wished for take turns ``scaling.pod_start_s`` later. Every change of
    the fleet is a rebalance, in whose ``rebalance_s`` nothing new begins anywhere while calls go on; then calls of the
    partitions that moved are cut off and made anew by their new owner. Pods that leave take nothing more, finish their
    calls within ``drain_s``, and only then are their partitions somebody else's.

    Turns are drawn from so many ``conversations`` (None: each is its own), evenly or by Zipf's law with the exponent
    ``skew``, and one of each is answered at a time. What has waited longer than ``turn_ttl_s`` expires instead of being
    called; what has waited longer than ``patience_s`` (None: as workers by default) goes after what has not. The provider
    takes ``requests_per_s`` and ``tokens_per_s`` on average over any ``quota_window_s``, and ``calls_at_once``. All times
    are in seconds and taken as they are: `Traffic.faster` and `Scaling.faster` come before.
    """
    limits = [requests_per_s, None if tokens_per_s is None else tokens_per_s / tokens_a_turn]
    given = [limit for limit in limits if limit is not None]
    _check(scaling, concurrency, given, calls_at_once)
    rng, agenda = random.Random(seed), Agenda()
    partitions = partitions or 3 * scaling.max_pods
    backlog = SimulatedTopic(partitions, conversations, skew, random.Random(rng.random()))
    provider = SimulatedProvider(min(given, default=math.inf) * quota_window_s, quota_window_s, calls_at_once)
    work = SimulatedWork(agenda, backlog, provider, service, turn_ttl_s, random.Random(rng.random()))
    if patience_s is None:
        patience_s = PATIENCE_SHARE * turn_ttl_s
    crew = Crew(
        agenda,
        work,
        backlog.lag,
        scaling,
        concurrency=concurrency,
        partitions=partitions,
        rebalance_s=rebalance_s,
        drain_s=drain_s,
        patience_s=patience_s,
    )
    sampler = _Sampler(agenda, backlog, work, crew, sample_s)
    arrivals = traffic.arrivals(random.Random(seed))
    sends = next(arrivals, math.inf)
    while sends < math.inf or backlog.undone:
        if agenda.next_at > sends:
            agenda.now = sends
            work.offer()
            sends = next(arrivals, math.inf)
        elif (turn := agenda.step()) is not None and (pod := work.end(turn)) is not None:
            crew.leave_if_idle(pod)
    return _told(agenda.now, work, crew, tuple(sampler.samples), *_spike(traffic))


def _check(scaling: Scaling, concurrency: int, limits: list[float], calls_at_once: int | None) -> None:
    if concurrency < 1 or not 1 <= scaling.min_pods <= scaling.max_pods:
        raise ValueError(
            "a simulation needs pods: concurrency and min_pods are 1 at least, max_pods no less than min_pods"
        )
    if min(limits, default=1) <= 0 or (calls_at_once is not None and calls_at_once < 1):
        raise ValueError("a provider takes some calls: quotas are more than 0, calls at once 1 at least")


def _spike(traffic: Traffic) -> tuple[float, float]:
    """From when until when it is above the rate of its beginning; all of it where it never is."""
    calm, points = traffic.points[0][1], traffic.points
    above = [n for n, (_, rate) in enumerate(points) if rate > calm]
    if not above:
        return 0.0, math.inf
    return points[max(0, above[0] - 1)][0], points[min(len(points) - 1, above[-1] + 1)][0]


def _told(
    now: float, work: SimulatedWork, crew: Crew, samples: tuple[SimulatedSample, ...], begins: float, ends: float
) -> Simulated:
    waited = [began - sent for sent, began in zip(work.sent, work.begun, strict=True)]
    return Simulated(
        samples=samples,
        turns=len(waited),
        answered=work.answered,
        expired=work.expired,
        calls=work.calls,
        called_again=work.called_again,
        waiting=WaitingTimes.of(waited),
        spike=WaitingTimes.of([waits for waits, sent in zip(waited, work.sent, strict=True) if begins <= sent < ends]),
        peak_waiting=work.peak_waiting,
        peak_waiting_at_s=work.peak_waiting_at,
        drained_at_s=work.drained_at,
        peak_in_flight=work.peak_in_flight,
        peak_pods=crew.peak,
        rebalances=crew.rebalances,
        ended_s=now,
    )


class _Sampler:
    """Notes how things stand, every ``every_s``."""

    def __init__(
        self, agenda: Agenda, backlog: SimulatedTopic, work: SimulatedWork, crew: Crew, every_s: float
    ) -> None:
        self._agenda, self._backlog, self._work, self._crew = agenda, backlog, work, crew
        self._every_s = every_s
        self._offered = self._answered = 0
        self.samples: list[SimulatedSample] = []
        self._note()

    def _note(self) -> None:
        work = self._work
        self.samples.append(
            SimulatedSample(
                at_s=self._agenda.now,
                offered=(len(work.sent) - self._offered) / self._every_s,
                answered=(work.answered - self._answered) / self._every_s,
                waiting=work.waiting,
                ready=work.ready,
                in_flight=work.in_flight,
                pods=self._crew.pods,
                lag=self._backlog.lag(),
            )
        )
        self._offered, self._answered = len(work.sent), work.answered
        self._agenda.at(self._agenda.now + self._every_s, self._note)
