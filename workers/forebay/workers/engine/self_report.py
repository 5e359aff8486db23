"""Reporting: what a worker tells of itself on ``chat.workers``, once a second.

The state is composed by pure functions. It is published by a producer of its own, not by the outbox: a report that is lost
is not missed, and the topic it lies on must never hold up a reply or stop a worker.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from forebay.schemas import Cluster, ModelState, PartitionState, Spending, WorkerState, encode
from forebay.schemas.version import VERSION

from .commands import Pauses
from .inbound import InboundRecord
from .ledger import Ledger

log = structlog.get_logger()

REPORT_S = 1.0
"""Between two reports, in seconds."""
RATE_S = 10.0
"""Over how many seconds the turns answered a second are counted."""
_LEAVE_S = 2.0
"""How long the last word, that this worker leaves, may take, in seconds."""
_KAFKA_MS = 5_000
_NOTHING_SPENT = Spending()


@runtime_checkable
class KnowsModels(Protocol):
    """What answers turns may tell of the models it asks; what cannot is reported without any."""

    def models(self) -> tuple[ModelState, ...]:
        """The models and how they are."""

    def spending(self) -> Spending:
        """What was spent."""


class Tally:
    """Turns that ended in this worker since its start."""

    __slots__ = ("dead_letters", "outcomes")

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        """By reason."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change as long as a worker lives."""

    worker_id: str
    group: str
    concurrency: int
    started_at: datetime
    version: str = VERSION
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
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
    pauses: Pauses
    tally: Tally
    answered_a_second: float
    alarm: str | None = None
    models: tuple[ModelState, ...] = ()
    spending: Spending = _NOTHING_SPENT


class Waiting(NamedTuple):
    """The turns of one partition that have not begun."""

    turns: int
    lowest: int
    """Offset of the first of them."""


def waiting_of(turns: Iterable[InboundRecord]) -> tuple[dict[int, Waiting], float]:
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
    return {partition: Waiting(count, lowest[partition]) for partition, count in counts.items()}, oldest


def state_of(identity: Identity, moment: Moment, now: datetime) -> WorkerState:
    """A worker's state at ``now``, which is aware of its time zone."""
    waiting, oldest = waiting_of(moment.waiting)
    oldest = min(oldest, min((turn.timestamp for turn in moment.running), default=oldest))
    partitions = partitions_of(moment.ledgers, waiting, moment.pauses)
    return WorkerState(
        worker_id=identity.worker_id,
        version=identity.version,
        host=identity.host,
        pid=identity.pid,
        group=identity.group,
        started_at=identity.started_at,
        reported_at=now,
        state=_condition(moment),
        trouble=moment.trouble,
        alarm=moment.alarm,
        partitions=partitions,
        concurrency=identity.concurrency,
        permits=moment.permits,
        in_flight=sum(partition.in_flight for partition in partitions),
        waiting=sum(partition.waiting for partition in partitions),
        oldest_turn_s=0.0 if oldest == float("inf") else max(0.0, now.timestamp() - oldest / 1000),
        outcomes=dict(moment.tally.outcomes),
        dead_letters=dict(moment.tally.dead_letters),
        answered_a_second=moment.answered_a_second,
        models=moment.models,
        spending=moment.spending,
    )


def partitions_of(
    ledgers: Mapping[int, Ledger], waiting: Mapping[int, Waiting], pauses: Pauses
) -> tuple[PartitionState, ...]:
    """The partitions of a worker, by number. What is polled and not done, and does not wait, is in flight."""
    states = []
    for partition, ledger in sorted(ledgers.items()):
        here = waiting.get(partition) or Waiting(0, ledger.position)
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


def _condition(moment: Moment) -> Literal["starting", "working", "paused", "draining"]:
    if moment.stopping:
        return "draining"
    if not moment.joined:
        return "starting"
    return "paused" if moment.pauses.everything else "working"


class Reports:
    """Publishes the states of one worker: the next when the last is acknowledged, so that none pile up."""

    def __init__(self, cluster: Cluster, worker: str) -> None:
        self._topic = cluster.topics.workers
        self._key = worker.encode()
        self._left = False
        self._producer = AIOKafkaProducer(
            client_id=worker, acks=1, request_timeout_ms=_KAFKA_MS, compression_type="lz4", **cluster.connection()
        )

    async def start(self) -> None:
        """Connects. Raises KafkaError when the cluster does not answer."""
        await self._producer.start()

    async def run(self, state: Callable[[], WorkerState]) -> None:
        """Reports until cancelled, or until `leave`; while Kafka does not take a report, none is made."""
        loop, lost = asyncio.get_running_loop(), False
        while not self._left:
            began = loop.time()
            try:
                await self._producer.send_and_wait(self._topic, encode(state()), key=self._key)
            except KafkaError as error:
                if not lost:
                    log.warning("report.lost", error=str(error) or type(error).__name__)
                lost = True
            else:
                lost = False
            await asyncio.sleep(max(0.0, began + REPORT_S - loop.time()))

    async def leave(self) -> None:
        """The last word: a tombstone, so that this worker is missed by nobody. Not heard where Kafka is away."""
        self._left = True
        try:
            await asyncio.wait_for(self._producer.send_and_wait(self._topic, None, key=self._key), _LEAVE_S)
        except (KafkaError, TimeoutError) as error:
            log.warning("report.lost", error=str(error) or type(error).__name__)

    async def stop(self) -> None:
        """Closes the connections."""
        await self._producer.stop()
