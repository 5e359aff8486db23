"""Monitor of the queue: reads once a second what is done from Kafka, and how many turns each worker answers at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from forebay.operations.fleet import Fleet
from forebay.operations.partition_backlog import PartitionBacklog
from forebay.schemas import Cluster, WorkerState

from .place import Queue, WorkerShare
from .record import Stream
from .tail import Tail

log = structlog.get_logger()

SAMPLE_S = 1.0
_ANSWER_S = 5.0


class QueueMonitor:
    """Keeps a `Queue` up to date."""

    def __init__(self, cluster: Cluster, group: str, tail: Tail, fleet: Fleet, sampled: Callable[[], None]) -> None:
        """Calls ``sampled`` after each sample."""
        self._topic, self._group = cluster.topics.requests, group
        self._tail, self._fleet, self._sampled = tail, fleet, sampled
        self._admin = AIOKafkaAdminClient(**cluster.connection())
        self._task: asyncio.Task[None] | None = None
        self.queue = Queue()
        self.kafka_away_since: float | None = None
        """Time on the monotonic clock; None while Kafka answers."""

    async def start(self) -> None:
        """Returns after the first sample; in a new cluster that one is empty. Raises KafkaError."""
        await self._admin.start()
        await self._ask()
        self._task = asyncio.create_task(self._run(), name="gateway.backlog")

    async def stop(self) -> None:
        """Stops sampling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._admin.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            await self._ask()
            self._sampled()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._sample()
        except GroupCoordinatorNotAvailableError:
            self.kafka_away_since = None  # the group is new
        except (KafkaError, OSError, TimeoutError) as error:
            if self.kafka_away_since is None:
                self.kafka_away_since = time.monotonic()
                log.warning("backlog.unknown", error=str(error) or type(error).__name__)
        else:
            self.kafka_away_since = None

    async def _sample(self) -> None:
        numbers = self._tail.partitions(Stream.REQUESTS)
        places = [TopicPartition(self._topic, number) for number in numbers]
        committed = await self._admin.list_consumer_group_offsets(self._group, partitions=places)
        partitions: dict[int, PartitionBacklog] = {}
        for place in places:
            at = committed.get(place)
            log_end = self._tail.positions[Stream.REQUESTS, place.partition]
            if at is None or at.offset < 0:
                continue  # no worker has ever had it: nothing is known
            partitions[place.partition] = PartitionBacklog.of_commit(at.offset, at.metadata or "", log_end)
        shares = dict(
            share
            for state in self._fleet.active(time.time())
            if state.group == self._group
            for share in shares_of(state)
        )
        self.queue.sample(partitions, shares, time.monotonic())


def shares_of(state: WorkerState) -> Iterator[tuple[str, WorkerShare]]:
    """A worker's share, and a second one without permits for its partitions that an operator has paused."""
    stopped = state.state in ("paused", "draining")
    paused = tuple(partition.partition for partition in state.partitions if partition.paused or stopped)
    going = tuple(partition.partition for partition in state.partitions if not (partition.paused or stopped))
    yield state.worker_id, WorkerShare(going, min(state.permits, state.concurrency))
    if paused:
        yield f"{state.worker_id} paused", WorkerShare(paused, 0)
