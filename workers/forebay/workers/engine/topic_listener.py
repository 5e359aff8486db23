"""A listener to a topic that every worker reads whole, without a group: what is on it already, then what comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError

from forebay.producers.unreadable_record import step_over
from forebay.schemas import Cluster

log = structlog.get_logger()

_RETRY_S = 1.0
_WAIT_MS = 1_000
_CATCH_UP_S = 15.0
"""How long reading what is already on the topic may take, in seconds."""


class TopicListener:
    """Follows a topic. A record that aiokafka cannot read is stepped over, aloud."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        worker: str,
        hear: Callable[[ConsumerRecord], None],
        since_s: float | None = None,
    ) -> None:
        """``hear`` is told each record; ``since_s`` leaves out those older than so many seconds."""
        self._topic, self._hear, self._since_s = topic, hear, since_s
        self._positions: dict[TopicPartition, int] = {}
        self._consumer = AIOKafkaConsumer(
            topic,
            client_id=worker,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=2_000,  # a record ends the wait: fewer requests cost no time
            **cluster.connection(),
        )

    async def start(self) -> None:
        """Hears what is on the topic already. Raises KafkaError when the cluster does not answer."""
        await self._consumer.start()
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                places = self._consumer.assignment()
                self._consumer.pause(*places)  # what is asked now would wait behind a fetch that waits for records
                ends = await self._consumer.end_offsets(places)
                await self._seek(ends)
                self._consumer.resume(*places)
                while any([await self._consumer.position(place) < end for place, end in ends.items()]):
                    await self._read()
        except TimeoutError:
            raise KafkaTimeoutError(f"{self._topic} could not be read within {_CATCH_UP_S:g} s") from None

    async def run(self) -> None:
        """Follows the topic until cancelled; while Kafka is away it waits."""
        while True:
            try:
                await self._read()
            except OffsetOutOfRangeError as error:
                log.info("listener.repositioned", topic=self._topic, partitions=len(error.args[0]))
                await self._consumer.seek_to_beginning(*error.args[0])
            except KafkaError as error:
                log.warning("listener.interrupted", topic=self._topic, error=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    async def stop(self) -> None:
        """Closes the connections."""
        await self._consumer.stop()

    async def _seek(self, ends: dict[TopicPartition, int]) -> None:
        if self._since_s is None:
            return
        since = int((time.time() - self._since_s) * 1000)
        for place, found in (await self._consumer.offsets_for_times(dict.fromkeys(ends, since))).items():
            self._consumer.seek(place, ends[place] if found is None else found.offset)

    async def _read(self) -> None:
        try:
            batches = await self._consumer.getmany(timeout_ms=_WAIT_MS)
        except UnicodeDecodeError:
            await self._step_over()
            return
        for place, records in batches.items():
            self._take(place, records)

    async def _step_over(self) -> None:
        """Reads once more what was taken off with the unreadable record: from behind the last one that was heard."""
        places = self._consumer.assignment()
        heard = {place: self._positions[place] for place in places if place in self._positions}
        starts = await self._consumer.beginning_offsets([place for place in places if place not in heard])
        async for record in step_over(self._consumer, starts | heard, self._take):
            self._positions[record.partition] = record.offset + 1
            log.warning("listener.unreadable", topic=self._topic, offset=record.offset, error=str(record))

    def _take(self, place: TopicPartition, records: list[ConsumerRecord]) -> None:
        for record in records:
            self._hear(record)
            self._positions[place] = record.offset + 1
