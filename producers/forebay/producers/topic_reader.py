"""Reads ranges of a topic, forwards or backwards, in bounded memory and without a consumer group.

Reads committed records only, so the mark of an aborted replay is ignored.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.schemas import Cluster, ClusterError

Spans = Mapping[int, range]
"""The offsets to read in each partition."""

_LOOK_MS = 5
"""How long to wait for records before checking the position, in milliseconds: transaction markers move it silently."""
_PATIENCE_S = 30.0
_BUFFER_BYTES = 6 * 1024 * 1024
_FIRST_STEP = 64
_LARGEST_STEP = 4096


Timed = AsyncGenerator[tuple[int, ConsumerRecord], None]
"""Records with the time they are merged by. It is their own, but never turns back within a partition: clocks differ, and
the order of a partition is what counts. So all records have one order, and a page of it can go on where another ended.
"""


class MergePosition(NamedTuple):
    """A place in the order of `TopicReader.newest_first`: the time to merge by, as in `Timed`, and where it is."""

    timestamp: int
    partition: int
    offset: int


class TopicReader:
    """Reads one topic. One read at a time; use it as an async context manager."""

    def __init__(self, cluster: Cluster, topic: str, partitions: Sequence[int]) -> None:
        self._cluster = cluster
        self._places = {number: TopicPartition(topic, number) for number in partitions}
        self._positions: dict[int, int] = {}
        share = _BUFFER_BYTES // max(1, len(partitions))
        self._tail_bytes = share
        self._consumer = AIOKafkaConsumer(
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where retention was faster, a span begins with what is left
            isolation_level="read_committed",
            fetch_max_wait_ms=_LOOK_MS,
            max_partition_fetch_bytes=min(1024 * 1024, share),
            fetch_max_bytes=_BUFFER_BYTES,
            **cluster.connection(),
        )

    @classmethod
    async def of(cls, cluster: Cluster, topic: str) -> Self:
        """Reads all partitions of a topic. Raises ClusterError when the cluster does not answer or has no such topic."""
        admin = AIOKafkaAdminClient(**cluster.connection())
        try:
            await admin.start()
            (described,) = await admin.describe_topics([topic])
        except (KafkaError, OSError) as error:
            raise cluster.explain(error) from error
        finally:
            await admin.close()
        cluster.missing(() if described["error_code"] else (topic,), (topic,))
        return cls(cluster, topic, sorted(partition["partition"] for partition in described["partitions"]))

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            self._consumer.assign(list(self._places.values()))
            self._consumer.pause(*self._places.values())
            # aiokafka holds back a fetch for 100 ms while records of any other partition wait to be read.
            self._consumer._fetcher._prefetch_backoff = 0.0
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def spans(self, since_ms: int | None = None) -> dict[int, range]:
        """The offsets that each partition holds now, from the first record at this time (milliseconds since the epoch) on."""
        places = list(self._places.values())
        starts = await self._consumer.beginning_offsets(places)
        ends = await self._consumer.end_offsets(places)
        first = starts if since_ms is None else await self._at(since_ms)
        return {
            number: range(min(max(starts[place], first.get(place, ends[place])), ends[place]), ends[place])
            for number, place in self._places.items()
        }

    async def offsets_at(self, moment_ms: int) -> dict[int, int]:
        """For each partition that has one, the first offset at this time or later (milliseconds since the epoch)."""
        return {place.partition: offset for place, offset in (await self._at(moment_ms)).items()}

    async def by_partition(self, spans: Spans) -> AsyncGenerator[list[ConsumerRecord], None]:
        """All records in the spans, one partition after another."""
        self._begin({partition: span.start for partition, span in spans.items() if span})
        for partition, span in spans.items():
            async for records in self._read(partition, span):
                yield records

    async def oldest_first(self, spans: Spans) -> AsyncGenerator[ConsumerRecord, None]:
        """All records in the spans, partitions merged by timestamp; each partition keeps its own order."""
        self._begin({partition: span.start for partition, span in spans.items() if span})
        async for record in _merged([self._forwards(*entry) for entry in spans.items()], 1):
            yield record

    async def newest_first(
        self, spans: Spans, after: MergePosition | None = None
    ) -> AsyncGenerator[ConsumerRecord, None]:
        """All records in the spans backwards, partitions merged by timestamp; ``after`` continues behind that place."""
        if after is not None:
            own = spans.get(after.partition, range(0))
            spans = {**spans, after.partition: range(own.start, max(own.start, min(own.stop, after.offset)))}
        self._begin({partition: max(span.start, span.stop - _FIRST_STEP) for partition, span in spans.items() if span})
        async for record in _merged([self._backwards(*entry, after) for entry in spans.items()], -1):
            yield record

    async def _at(self, moment_ms: int) -> dict[TopicPartition, int]:
        found = await self._consumer.offsets_for_times(dict.fromkeys(self._places.values(), max(0, moment_ms)))
        return {place: first.offset for place, first in found.items() if first is not None}

    def _begin(self, starts: Mapping[int, int]) -> None:
        """Lets Kafka send all partitions at once, although they are read one by one."""
        self._consumer.pause(*self._places.values())
        for partition, start in starts.items():
            self._seek(partition, start)

    def _seek(self, partition: int, offset: int) -> None:
        self._consumer.seek(self._places[partition], offset)
        self._consumer.resume(self._places[partition])
        self._positions[partition] = offset

    async def _read(self, partition: int, span: range) -> AsyncGenerator[list[ConsumerRecord], None]:
        """The records of one partition in a span, in order, as they come. Raises ClusterError when none come."""
        if not span:
            return
        place, now = self._places[partition], asyncio.get_running_loop().time
        if self._positions.get(partition) != span.start:
            self._seek(partition, span.start)
        give_up = now() + _PATIENCE_S
        while (position := self._positions[partition]) < span.stop:
            try:
                records = (await self._consumer.getmany(place, timeout_ms=_LOOK_MS)).get(place, [])
            except UnicodeDecodeError as error:
                raise ClusterError(
                    f"{place.topic}-{partition}: at offset {position} or soon after it a header's name is not UTF-8, which "
                    "this client cannot read: leave it out with a later --since, or delete up to it with Kafka's own "
                    "kafka-delete-records"
                ) from error
            self._positions[partition] = await self._consumer.position(place)
            if self._positions[partition] >= span.stop:
                self._consumer.pause(place)  # before anything else is awaited, or Kafka is asked for more
            if self._positions[partition] > position:
                give_up = now() + _PATIENCE_S
            elif now() > give_up:
                raise ClusterError(f"Kafka at {self._cluster.kafka} stopped answering: {place.topic} cannot be read on")
            if within := [record for record in records if record.offset < span.stop]:
                yield within

    async def _forwards(self, partition: int, span: range) -> Timed:
        timestamp: float = -math.inf
        async for records in self._read(partition, span):
            for record in records:
                timestamp = max(timestamp, record.timestamp)
                yield int(timestamp), record

    async def _backwards(self, partition: int, span: range, after: MergePosition | None) -> Timed:
        timestamp: float = after.timestamp if after is not None and partition == after.partition else math.inf
        async for records in self._tails(partition, span):
            while records:
                record = records.pop()
                timestamp = min(timestamp, record.timestamp)
                # What comes before the cursor was on the pages before.
                if after is None or (-timestamp, partition) >= (-after.timestamp, after.partition):
                    yield int(timestamp), record

    async def _tails(self, partition: int, span: range) -> AsyncGenerator[deque[ConsumerRecord], None]:
        """Short stretches from the end on; of one that is too large for memory only the tail is kept at a time."""
        end, step = span.stop, _FIRST_STEP
        while end > span.start:
            floor, tail, held = max(span.start, end - step), deque[ConsumerRecord](), 0
            async for records in self._read(partition, range(floor, end)):
                for record in records:
                    tail.append(record)
                    held += record_bytes(record)
                    while held > self._tail_bytes and len(tail) > 1:
                        held -= record_bytes(tail.popleft())
                        floor = tail[0].offset
            cut_short = floor > max(span.start, end - step)
            end, step = floor, len(tail) if cut_short else min(_LARGEST_STEP, step * 4)
            yield tail


def record_bytes(record: ConsumerRecord) -> int:
    """Bytes of key, value and headers."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


async def _merged(sources: Sequence[Timed], sign: int) -> AsyncGenerator[ConsumerRecord, None]:
    """One stream of several, always going on with the one whose next record has the lowest ``sign * timestamp``."""
    firsts = [(number, await anext(source, None)) for number, source in enumerate(sources)]
    heads = [(sign * first[0], number, first[1]) for number, first in firsts if first is not None]
    heapify(heads)
    while heads:
        _, number, record = heads[0]
        yield record
        if (following := await anext(sources[number], None)) is None:
            heappop(heads)
        else:
            heapreplace(heads, (sign * following[0], number, following[1]))
