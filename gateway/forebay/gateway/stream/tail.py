"""The tail: reads requests, replies, deltas and persons' messages as they are written, and keeps the recent ones.

Every gateway reads all of these topics: a reply reaches the gateway that holds the connection, whichever it is. It starts a
little in the past, for readers that were connected to another gateway before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from forebay.producers.partition import partition_of
from forebay.producers.unreadable_record import step_over
from forebay.schemas import Cluster, ClusterError

from .cursor import Cursor
from .recent import Recent
from .record import ConversationRecord, Stream

log = structlog.get_logger()

KEPT_BYTES = {Stream.REQUESTS: 16 << 20, Stream.REPLIES: 32 << 20, Stream.DELTAS: 16 << 20, Stream.MESSAGES: 4 << 20}
"""Bytes of recent records that are kept; at 200 turns a second with replies of 1 KiB about two minutes of replies."""
_BEGIN_S = 60.0
"""How far in the past it starts, in seconds."""
_CATCH_UP_S = 30.0
_RETRY_S = 0.5
_BATCH = 500

_CURSOR = (Stream.REPLIES, Stream.DELTAS, Stream.MESSAGES, Stream.REQUESTS)
"""In the order of a cursor."""


class Tail:
    """Reads the topics, all conversations."""

    def __init__(self, cluster: Cluster, heard: Callable[[ConversationRecord], None]) -> None:
        """Calls ``heard`` with each record once, in the order of its partition."""
        topics = cluster.topics
        self._streams = {
            topics.requests: Stream.REQUESTS,
            topics.replies: Stream.REPLIES,
            topics.deltas: Stream.DELTAS,
            topics.messages: Stream.MESSAGES,
        }
        self._cluster = cluster
        self._heard = heard
        self._consumer = AIOKafkaConsumer(
            enable_auto_commit=False, auto_offset_reset="none", fetch_max_wait_ms=250, **cluster.connection()
        )
        self._task: asyncio.Task[None] | None = None
        self._partitions: dict[Stream, list[int]] = {}
        self.recent = {stream: Recent(size) for stream, size in KEPT_BYTES.items()}
        self.positions: dict[tuple[Stream, int], int] = {}
        """The next offset of each partition: all before it was read."""
        self.deltas_heard = 0
        """Deltas of all conversations since the start."""

    async def start(self) -> None:
        """Returns when it has read each partition to its end. Raises KafkaError, ClusterError."""
        await self._consumer.start()
        places: list[TopicPartition] = []
        known = await self._consumer._client.fetch_all_metadata()  # the public way forgets the numbers of partitions
        self._cluster.missing(known.topics(), self._streams)
        for topic, stream in self._streams.items():
            self._partitions[stream] = sorted(known.partitions_for_topic(topic))
            places += (TopicPartition(topic, number) for number in self._partitions[stream])
        self._consumer.assign(places)
        ends = await self._consumer.end_offsets(places)
        since = int((time.time() - _BEGIN_S) * 1000)
        found = await self._consumer.offsets_for_times(dict.fromkeys(places, since))
        for place in places:
            self._begin(place, first.offset if (first := found[place]) is not None else ends[place])
        self._task = asyncio.create_task(self._follow(), name="gateway.tail")
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                await self._catch_up(ends)
        except TimeoutError:
            raise ClusterError(f"the topics could not be read to their ends within {_CATCH_UP_S:g} s") from None

    async def _catch_up(self, ends: Mapping[TopicPartition, int]) -> None:
        """By the consumer's position, which also passes transaction markers, of which no record is read."""
        assert self._task is not None
        while any([await self._consumer.position(place) < end for place, end in ends.items()]):
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.01)

    @property
    def deaf(self) -> bool:
        """Whether it has stopped reading, because of a bug of ours."""
        return self._task is not None and self._task.done()

    async def stop(self) -> None:
        """Stops reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()

    def partition(self, stream: Stream, conversation: bytes) -> int:
        """The conversation's partition, by Java's default partitioner, which all Kafka clients can use."""
        return partition_of(conversation, len(self._partitions[stream]))

    def partitions(self, stream: Stream) -> list[int]:
        """All partitions of a topic."""
        return self._partitions[stream]

    def cursor(self, conversation: bytes) -> Cursor:
        """Position of a reader who has all records of this conversation that were read here."""
        return Cursor(*(self.positions[stream, self.partition(stream, conversation)] for stream in _CURSOR))

    def since(self, stream: Stream, conversation: bytes, offset: int) -> list[ConversationRecord] | None:
        """The conversation's records from this offset on; None when some may be too old to be kept here."""
        return self.recent[stream].since(conversation, self.partition(stream, conversation), offset)

    def _begin(self, place: TopicPartition, offset: int) -> None:
        stream = self._streams[place.topic]
        self._consumer.seek(place, offset)
        self.positions[stream, place.partition] = offset
        self.recent[stream].begin(place.partition, offset)

    async def _follow(self) -> None:
        while True:
            try:
                await self._poll()
            except KafkaError as error:
                log.warning("tail.interrupted", error=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    async def _poll(self) -> None:
        try:
            batches = await self._consumer.getmany(timeout_ms=1000, max_records=_BATCH)
        except OffsetOutOfRangeError as error:
            # Retention was faster, or the topic was made anew: what lies between is missed here, not lost in Kafka.
            for place, end in (await self._consumer.end_offsets(list(error.args[0]))).items():
                log.warning("tail.skipped", topic=place.topic, partition=place.partition, to=end)
                self._begin(place, end)
        except UnicodeDecodeError:
            await self._step_over()
        else:
            for place, records in batches.items():
                self._take(place, records)

    async def _step_over(self) -> None:
        places = {
            place: self.positions[self._streams[place.topic], place.partition] for place in self._consumer.assignment()
        }
        async for record in step_over(self._consumer, places, self._take):
            log.warning(
                "tail.unreadable",
                topic=record.partition.topic,
                partition=record.partition.partition,
                offset=record.offset,
                error=str(record),
            )
            self._begin(record.partition, record.offset + 1)

    def _take(self, place: TopicPartition, records: list[ConsumerRecord]) -> None:
        stream = self._streams[place.topic]
        if stream is Stream.DELTAS:
            self.deltas_heard += len(records)
        for raw in records:
            self.positions[stream, raw.partition] = raw.offset + 1
            if (record := ConversationRecord.of(stream, raw)) is None:
                continue
            self.recent[stream].add(record)
            try:
                self._heard(record)
            except Exception:  # what one record does to one reader must not make the gateway deaf
                log.exception("tail.mistake", topic=raw.topic, partition=raw.partition, offset=raw.offset)
