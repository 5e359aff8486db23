"""The scenario of a rehearsal: a YAML file, or the defaults, which are the spike of the README.

Times are those of the sale. ``speed`` makes the rehearsal so many times shorter: the traffic's shape, the faults, the
customers' pauses and the autoscaler's own times shrink; rates of turns and the models' latencies stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from forebay.operations.planning.autoscaler import PreScale, Scaling
from forebay.operations.planning.patience import Patience
from forebay.operations.planning.quantities import rate, seconds
from forebay.operations.planning.traffic import Traffic
from forebay.rehearsal.chaos.schedule import BEGINNINGS, ENDS, EventKind, ScheduledEvent
from forebay.rehearsal.customers import Customers
from forebay.rehearsal.shop_questions import CUSTOMERS
from forebay.schemas import Cluster, WhenBusy
from forebay.workers.settings import WorkerSettings

from . import large_model
from .figure import FIGURES
from .targets import Target

Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Rate = Annotated[float, BeforeValidator(rate), Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


_LEAST_LOOK_S = 0.5
"""Between two looks of the autoscaler, however fast the rehearsal is."""


class ScenarioError(Exception):
    """The scenario cannot be rehearsed; the message says what is wrong and where."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrafficPart(_Part):
    """How many turns a second, over the sale's time."""

    shape: Literal["spike", "sustained", "decaying", "points", "recorded"] = "spike"
    calm: Rate = 5.0
    peak: Rate = 200.0
    opens: Seconds = 60.0
    climbs: Seconds = 300.0
    holds: Seconds = 600.0
    falls: Seconds = 300.0
    rests: Seconds = 300.0
    half_life: Seconds = 300.0
    points: tuple[tuple[Seconds, Rate], ...] = ()
    """Of the shape ``points``: straight lines between them."""
    topic: str | None = None
    """Of the shape ``recorded``: a topic of turns that is sent again, in its own time."""
    since: datetime | None = None
    until: datetime | None = None

    def traffic(self) -> Traffic:
        """The rate over the sale's time; not for ``recorded``."""
        match self.shape:
            case "sustained":
                return Traffic.sustained(self.peak, lasts_s=self.holds)
            case "decaying":
                lasts = self.opens + self.holds
                half_life = max(self.half_life, 1e-3)
                return Traffic.decaying(self.calm, self.peak, opens_s=self.opens, half_life_s=half_life, lasts_s=lasts)
            case "points":
                return Traffic(self.points)
        return Traffic.spike(
            self.calm,
            self.peak,
            opens_s=self.opens,
            climbs_s=self.climbs,
            holds_s=self.holds,
            falls_s=self.falls,
            rests_s=self.rests,
        )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.shape == "recorded" and not self.topic:
            raise ValueError("recorded traffic needs the `topic` it is read from")
        if self.shape != "recorded":
            self.traffic()
        return self


class PatiencePart(_Part):
    """Customers who do not wait for ever."""

    median: Annotated[Seconds, Field(gt=0)] = 45.0
    spread: float = Field(default=0.6, ge=0, le=3)
    """Standard deviation of the logarithm."""
    tell: Share = 1.0
    """Of those who leave, whose frontend cancels their turns."""
    write_again: Share = 0.3
    again_after: tuple[Seconds, Seconds] = (10.0, 30.0)
    again_times: int = Field(default=1, ge=1, le=20)
    reload: Share = 0.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        least, most = self.again_after
        if not 0 < least <= most:
            raise ValueError(f"again_after is from the earliest to the latest, above 0, got {least:g} s and {most:g} s")
        return self

    def patience(self) -> Patience:
        """In the sale's time."""
        return Patience(
            median_s=self.median,
            spread=self.spread,
            tell=self.tell,
            write_again=self.write_again,
            again_after_s=self.again_after,
            again_times=self.again_times,
            reload=self.reload,
        )


class CustomersPart(_Part):
    """Who writes."""

    conversations: int = Field(default=10_000, ge=1, le=1_000_000)
    skew: float = Field(default=0.0, ge=0, le=3)
    turns_a_visit: float = Field(default=1.0, ge=1, le=100)
    think: Seconds = 30.0
    streamed: bool = False
    patience: PatiencePart | None = None
    """Without it they wait as long as it takes."""
    when_busy: WhenBusy | None = None
    """Of every turn; without it the assistant's own rule."""
    seed: int = 11


class LatencyPart(_Part):
    """Of one model call, in seconds: lognormal, by its median and its 99th percentile."""

    p50: Seconds = 0.6
    p99: Seconds = 2.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 < self.p50 <= self.p99:
            raise ValueError(f"p50 is above 0 and not above p99, got p50 {self.p50:g} s and p99 {self.p99:g} s")
        return self


class ModelsPart(_Part):
    """The simulated provider; ``real`` calls the one whose key is set, which costs money."""

    real: bool = False
    latency: LatencyPart = LatencyPart()
    max_in_flight: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


class PreScalePart(_Part):
    """Pods wanted from one moment to another, whatever the lag."""

    at: Seconds
    until: Seconds
    pods: int = Field(ge=1)


class WorkersPart(_Part):
    """The fleet, and when it grows."""

    least: int = Field(default=1, ge=1)
    most: int = Field(default=4, ge=1, le=64)
    concurrency: int = Field(default=50, ge=1)
    partitions: int = Field(default=12, ge=1, le=1_000)
    lag_threshold: int | None = Field(default=None, ge=1)
    """Turns a pod; 0.8 x concurrency without it."""
    pod_start: Seconds = 20.0
    pre_scale: PreScalePart | None = None
    assistant: str = ""
    """``package.module:attribute``; the built-in one without it."""
    model: str = ""
    settings: dict[str, Annotated[str, BeforeValidator(str)]] = {}
    """More settings of the workers, such as ``FOREBAY_TURN_TTL_S``."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.least <= self.most <= self.partitions:
            raise ValueError(f"least <= most <= partitions, got {self.least}, {self.most} and {self.partitions}")
        known = {f"FOREBAY_{name.upper()}" for name in (*WorkerSettings.model_fields, *Cluster.model_fields)}
        if unknown := sorted(set(self.settings) - known - {large_model.OF, large_model.MODEL}):
            raise ValueError(f"settings: {', '.join(unknown)}: no settings of a worker; docs/configuration.md has them")
        return self

    def scaling(self) -> Scaling:
        """As a ScaledObject would say it, in the sale's time."""
        early = self.pre_scale
        return Scaling(
            min_pods=self.least,
            max_pods=self.most,
            lag_threshold=self.lag_threshold or max(1, round(self.concurrency * 0.8)),
            pod_start_s=self.pod_start,
            pre_scale=None if early is None else PreScale(early.at, early.until, early.pods),
        )


class FaultPart(_Part):
    """Something that breaks, and comes back after ``lasts``."""

    what: EventKind
    at: Seconds
    lasts: Seconds = 0.0
    worker: int = Field(default=0, ge=0)
    """Which, from 0, for sigkill, sigterm and sigstop."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Of the model calls that a fault of the models strikes."""

    @model_validator(mode="after")
    def _begins(self) -> Self:
        if self.what not in BEGINNINGS:
            raise ValueError(
                f"{self.what} undoes something by itself; write what breaks: {', '.join(sorted(BEGINNINGS))}"
            )
        if not self.lasts and ENDS[self.what] is not EventKind.START:
            raise ValueError(f"{self.what} needs how long it `lasts`: it would be over at once")
        return self


class Incident(NamedTuple):
    """One fault, from its beginning to its end."""

    begins_at: float
    begins: ScheduledEvent
    ends_at: float
    ends: ScheduledEvent | None
    """None where it ends by itself."""


class Scenario(_Part):
    """One sale to rehearse."""

    name: str = Field(default="sale", max_length=60)
    service: Literal["forebay", "plain"] = "forebay"
    """``plain`` calls the models by their SDK as each turn comes: no Kafka and no workers, for comparison."""
    speed: float = Field(default=20.0, gt=0, le=1_000)
    traffic: TrafficPart = TrafficPart()
    customers: CustomersPart = CustomersPart()
    models: ModelsPart = ModelsPart()
    workers: WorkersPart = WorkersPart()
    faults: tuple[FaultPart, ...] = ()
    targets: dict[str, Target] = {}

    @model_validator(mode="after")
    def _playable(self) -> Self:
        if self.models.real and any(fault.what in _OF_MODELS for fault in self.faults):
            raise ValueError(
                "a real provider takes no faults of ours: leave them out, or rehearse with the simulated one"
            )
        for fault in self.faults:
            if fault.worker >= self.workers.most:
                raise ValueError(f"faults: {fault.what}: worker {fault.worker} of {self.workers.most} at most, from 0")
            if self.traffic.shape != "recorded" and fault.at > self.traffic.traffic().ends_s:
                raise ValueError(f"faults: {fault.what} at {fault.at:g} s: the sale is over by then")
        if self.service == "plain" and (self.faults or self.models.real or self.traffic.shape == "recorded"):
            raise ValueError("service: a plain one is for comparison: no faults, no recorded traffic, simulated models")
        if unknown := sorted(set(self.targets) - set(FIGURES)):
            raise ValueError(f"no figure is called {', '.join(unknown)}; targets can be set on {', '.join(FIGURES)}")
        return self

    def visitors(self) -> Customers:
        """The customers, in the rehearsal's own time."""
        part = self.customers
        return Customers(
            conversations=part.conversations,
            skew=part.skew,
            turns_a_visit=part.turns_a_visit,
            think_s=part.think / self.speed,
            patience=None if part.patience is None else part.patience.patience().faster(self.speed),
            users=CUSTOMERS if self.workers.assistant else None,  # the shop's assistant knows its own
            seed=part.seed,
        )

    def scaling(self) -> Scaling:
        """When the fleet grows, in the rehearsal's own time; a look asks Kafka, so not too often."""
        scaling = self.workers.scaling().faster(self.speed)
        return replace(scaling, every_s=max(_LEAST_LOOK_S, scaling.every_s))

    def incidents(self) -> list[Incident]:
        """What breaks and comes back, in the rehearsal's own seconds."""
        incidents = []
        for fault in self.faults:
            worker = fault.worker if fault.what in _OF_WORKERS else None
            end = ENDS[fault.what]
            incidents.append(
                Incident(
                    fault.at / self.speed,
                    ScheduledEvent(0, fault.what, worker, fault.share),
                    (fault.at + fault.lasts) / self.speed,
                    # A Deployment brings a pod back by itself.
                    None if end is EventKind.START else ScheduledEvent(0, end, worker),
                )
            )
        return incidents


_OF_WORKERS = {EventKind.SIGKILL, EventKind.SIGTERM, EventKind.SIGSTOP}
_OF_MODELS = {kind for kind, end in ENDS.items() if end in (EventKind.CALM, EventKind.OUTAGE_OVER)}
