"""Self-report: what a worker tells of itself on ``chat.workers``. What it says is composed by pure functions."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from forebay.schemas import ModelState, PartitionState, Spending, WorkerState
from forebay.schemas.version import VERSION
from forebay.telemetry.rate import Rate
from forebay.workers import metrics

from .dispatch import Dispatch
from .handler import Handler
from .inbound import InboundRecord
from .intake import Intake
from .ledger import Ledger
from .outbox import Outbox
from .outcome_counts import OutcomeCounts
from .pauses import Pauses

RATE_S = 10.0
"""Over how many seconds the turns answered a second are counted."""
_NOTHING_SPENT = Spending()


@runtime_checkable
class KnowsModels(Protocol):
    """A handler that can tell of the models it asks; any other is reported without models."""

    def models(self) -> tuple[ModelState, ...]:
        """State of every upstream."""

    def spending(self) -> Spending:
        """What was spent."""


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """What does not change as long as a worker lives."""

    worker_id: str
    group: str
    concurrency: int
    started_at: datetime
    version: str = VERSION
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is to be seen of a worker at one moment."""

    joined: bool
    stopping: bool
    trouble: str | None
    permits: int
    ledgers: Mapping[int, Ledger]
    """Progress of the partitions it owns."""
    waiting: Iterable[InboundRecord]
    """Turns that have not begun."""
    running: Iterable[InboundRecord]
    """Turns in flight."""
    pauses: Pauses
    counts: OutcomeCounts
    answered_a_second: float
    alarm: str | None = None
    models: tuple[ModelState, ...] = ()
    spending: Spending = _NOTHING_SPENT


class SelfReport:
    """Looks at the parts of a worker."""

    def __init__(
        self,
        identity: WorkerIdentity,
        intake: Intake,
        dispatch: Dispatch,
        outbox: Outbox,
        handler: Handler,
        pauses: Pauses,
    ) -> None:
        self._identity = identity
        self._intake, self._dispatch, self._outbox, self._pauses = intake, dispatch, outbox, pauses
        self._handler = handler
        self._models = handler if isinstance(handler, KnowsModels) else None
        self._rate = Rate(RATE_S)
        self._rate.note(0, time.monotonic())

    def state(self, *, stopping: bool, trouble: str | None, alarm: str | None) -> WorkerState:
        """The worker at this moment; ``trouble`` is why it does no work, ``alarm`` why it should be restarted."""
        dispatch, models = self._dispatch, self._models
        observation = Observation(
            joined=self._intake.rebalances.joined,
            stopping=stopping,
            trouble=trouble,
            alarm=alarm,
            permits=dispatch.permits,
            ledgers=self._intake.ledgers,
            waiting=dispatch.untaken(),
            running=list(dispatch.taken()),
            pauses=self._pauses,
            counts=dispatch.counts,
            answered_a_second=self._rate.note(dispatch.counts.outcomes.total(), time.monotonic()),
            models=models.models() if models else (),
            spending=models.spending() if models else _NOTHING_SPENT,
        )
        return state_of(self._identity, observation, datetime.now(UTC))

    def refresh_metrics(self) -> None:
        """Sets the gauges to what is true now."""
        dispatch = self._dispatch
        metrics.IN_FLIGHT.set(dispatch.holding_permits)
        metrics.WAITING.set(dispatch.waiting)
        oldest = min((inbound.timestamp for inbound in dispatch.untaken()), default=None)
        metrics.OLDEST_WAITING.set(0.0 if oldest is None else max(0.0, time.time() - oldest / 1000))
        metrics.UNPUBLISHED.set(self._outbox.waiting)
        metrics.PARTITIONS.set(len(self._intake.partitions))


class WaitingTurns(NamedTuple):
    """The turns of one partition that have not begun."""

    turns: int
    lowest: int
    """Offset of the first of them."""


def waiting_of(turns: Iterable[InboundRecord]) -> tuple[dict[int, WaitingTurns], float]:
    """(by partition, the oldest timestamp in milliseconds since the epoch, infinity without any). 10,000 take about 1 ms."""
    counts: dict[int, int] = {}
    lowest: dict[int, int] = {}
    oldest = float("inf")
    for turn in turns:
        partition, offset = turn.partition, turn.offset
        if partition not in counts:
            counts[partition], lowest[partition] = 1, offset
        else:
            counts[partition] += 1
            if offset < lowest[partition]:
                lowest[partition] = offset
        if turn.timestamp < oldest:
            oldest = turn.timestamp
    return {partition: WaitingTurns(count, lowest[partition]) for partition, count in counts.items()}, oldest


def state_of(identity: WorkerIdentity, observation: Observation, now: datetime) -> WorkerState:
    """A worker's state at ``now``, which is aware of its time zone."""
    waiting, oldest = waiting_of(observation.waiting)
    oldest = min(oldest, min((turn.timestamp for turn in observation.running), default=oldest))
    partitions = partitions_of(observation.ledgers, waiting, observation.pauses)
    return WorkerState(
        worker_id=identity.worker_id,
        version=identity.version,
        host=identity.host,
        pid=identity.pid,
        group=identity.group,
        started_at=identity.started_at,
        reported_at=now,
        state=_phase(observation),
        trouble=observation.trouble,
        alarm=observation.alarm,
        partitions=partitions,
        concurrency=identity.concurrency,
        permits=observation.permits,
        in_flight=sum(partition.in_flight for partition in partitions),
        waiting=sum(partition.waiting for partition in partitions),
        oldest_turn_s=0.0 if oldest == float("inf") else max(0.0, now.timestamp() - oldest / 1000),
        outcomes=dict(observation.counts.outcomes),
        dead_letters=dict(observation.counts.dead_letters),
        answered_a_second=observation.answered_a_second,
        models=observation.models,
        spending=observation.spending,
    )


def partitions_of(
    ledgers: Mapping[int, Ledger], waiting: Mapping[int, WaitingTurns], pauses: Pauses
) -> tuple[PartitionState, ...]:
    """The partitions of a worker, by number. What is polled and not done, and does not wait, is in flight."""
    states = []
    for partition, ledger in sorted(ledgers.items()):
        here = waiting.get(partition) or WaitingTurns(0, ledger.position)
        states.append(
            PartitionState(
                partition=partition,
                position=ledger.position,
                begun=min(here.lowest, ledger.position),
                waiting=here.turns,
                in_flight=max(0, ledger.held - here.turns),
                paused=pauses.paused(partition),
            )
        )
    return tuple(states)


def _phase(observation: Observation) -> Literal["starting", "working", "paused", "draining"]:
    if observation.stopping:
        return "draining"
    if not observation.joined:
        return "starting"
    return "paused" if observation.pauses.everything else "working"
