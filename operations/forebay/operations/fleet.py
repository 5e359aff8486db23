"""The fleet: every worker's latest state, and commands to them. It needs nothing but Kafka.

async with Fleet(Cluster.read()) as fleet:
    busy = [worker for worker in fleet.workers(time.time()) if worker.waiting]
    await fleet.command("pause", partition=3, issued_by="ada")
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Literal, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.producers.unreadable_record import step_over
from forebay.schemas import (
    EVERYBODY,
    Cluster,
    ClusterError,
    Command,
    DecodeError,
    WorkerState,
    decode_worker_state,
    encode,
    new_id,
)

log = logging.getLogger(__name__)

SILENT_S = 5.0
"""A worker whose last state is older, in seconds, was killed, hangs, or cannot reach Kafka; or its clock is wrong."""
FORGOTTEN_S = 600.0
"""A worker whose last state is older, in seconds, is no longer shown."""
_RETRY_S = 0.5
_CATCH_UP_S = 30.0
_COMMAND_S = 10.0
_MOST_UNREAD = 1_000


class Fleet:
    """Follows ``chat.workers``, from the first state that is not too old to be shown. Use it as a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._topics = cluster.topics
        self._states: dict[bytes, WorkerState] = {}
        self._unread: dict[bytes, bytes | None] = {}  # the latest value of each key, decoded when somebody asks
        self._consumer = AIOKafkaConsumer(
            self._topics.workers,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            **cluster.connection(),
        )
        self._positions: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connects, and reads every state there is. Raises ClusterError when the cluster does not answer or has no topics."""
        try:
            await self._check_topics()
            await self._consumer.start()
            async with asyncio.timeout(_CATCH_UP_S):
                await self._catch_up()
        except TimeoutError:
            await self._close()
            raise ClusterError(f"{self._topics.workers} could not be read within {_CATCH_UP_S:g} s") from None
        except (KafkaError, OSError) as error:
            await self._close()
            raise self._cluster.explain(error) from error
        except BaseException:
            await self._close()
            raise
        self._task = asyncio.create_task(self._follow(), name="fleet.follow")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    def workers(self, now: float) -> tuple[WorkerState, ...]:
        """The latest state of each worker, by worker id: those that left in order are gone, `silent` ones are here.

        ``now`` in seconds since the epoch.
        """
        self._settle()
        self._states = {key: state for key, state in self._states.items() if _age_s(state, now) <= FORGOTTEN_S}
        return tuple(sorted(self._states.values(), key=lambda state: state.worker_id))

    def silent(self, now: float) -> tuple[WorkerState, ...]:
        """Those of `workers` that have not reported for `SILENT_S`."""
        return tuple(state for state in self.workers(now) if _age_s(state, now) > SILENT_S)

    def active(self, now: float) -> tuple[WorkerState, ...]:
        """Those of `workers` that are not `silent`."""
        return tuple(state for state in self.workers(now) if _age_s(state, now) <= SILENT_S)

    async def command(
        self,
        word: Literal["pause", "resume", "drain"],
        *,
        worker: str = EVERYBODY,
        partition: int | None = None,
        issued_by: str = "",
    ) -> Command:
        """Sends a command and returns it when all in-sync replicas have it; the workers obey within moments.

        Raises ValueError for what is no command, and ClusterError when Kafka does not take it in time; it may then have
        been written all the same, and saying it again is harmless.
        """
        if not worker:
            raise ValueError(f"worker: a worker id, or {EVERYBODY} for all")
        command = Command(
            command_id=new_id(), command=word, partition=partition, issued_by=issued_by, issued_at=datetime.now(UTC)
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                await self._publish(worker.encode(), encode(command))
        except TimeoutError:
            raise ClusterError(f"{self._topics.commands} did not take the command within {_COMMAND_S:g} s") from None
        except (KafkaError, OSError) as error:
            raise self._cluster.explain(error) from error
        return command

    async def _publish(self, key: bytes, value: bytes) -> None:
        """By a producer of its own: what was given up must not reach the workers later."""
        producer = AIOKafkaProducer(acks="all", **self._cluster.connection())
        try:
            await producer.start()
            await producer.send_and_wait(self._topics.commands, value, key=key)
        finally:
            producer._message_accumulator.fail_all(ClusterError("the command was given up"))
            await producer.stop()

    async def _check_topics(self) -> None:
        """By itself: a consumer of a topic that does not exist waits for it."""
        admin = AIOKafkaAdminClient(**self._cluster.connection())
        try:
            await admin.start()
            self._cluster.missing(await admin.list_topics(), (self._topics.workers, self._topics.commands))
        finally:
            await admin.close()

    async def _catch_up(self) -> None:
        partitions = self._consumer.assignment()
        since = int((time.time() - FORGOTTEN_S) * 1000)
        starts = await self._consumer.offsets_for_times(dict.fromkeys(partitions, since))
        ends = await self._consumer.end_offsets(partitions)
        for partition, end in ends.items():
            start = starts[partition]
            self._positions[partition] = end if start is None else start.offset
            self._consumer.seek(partition, self._positions[partition])
        while any([await self._consumer.position(partition) < end for partition, end in ends.items()]):
            await self._read(timeout_ms=200)

    async def _follow(self) -> None:
        while True:
            try:
                await self._read(timeout_ms=1000)
            except KafkaError as error:
                log.warning("the states of the workers are interrupted: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _read(self, timeout_ms: int) -> None:
        try:
            batches = await self._consumer.getmany(timeout_ms=timeout_ms)
        except UnicodeDecodeError:
            async for record in step_over(self._consumer, self._positions, self._keep):
                log.warning("a record is left out: %s", record)
                self._positions[record.partition] = record.offset + 1
            return
        for partition, records in batches.items():
            self._keep(partition, records)
        if len(self._unread) > _MOST_UNREAD:
            self._settle()

    def _keep(self, partition: TopicPartition, records: list[ConsumerRecord]) -> None:
        for record in records:
            self._unread[record.key or b""] = record.value
        self._positions[partition] = records[-1].offset + 1

    def _settle(self) -> None:
        """Decodes what has come since somebody asked last."""
        for key, value in self._unread.items():
            if value is None:
                self._states.pop(key, None)
                continue
            try:
                state = decode_worker_state(value)
            except DecodeError as error:
                log.warning("%s has a record that is no worker's state: %s", self._topics.workers, error)
                continue
            if state.worker_id.encode() == key:
                self._states[key] = state
            else:
                log.warning("%s has a state of %s under another key", self._topics.workers, state.worker_id)
        self._unread.clear()

    async def _close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._consumer.stop()


def _age_s(state: WorkerState, now: float) -> float:
    return now - state.reported_at.timestamp()
