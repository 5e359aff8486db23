"""Backfill: records of a conversation that are too old for this gateway's memory, read back from Kafka.

When another gateway dies, its readers come all at once: what they ask of one partition within a moment is read once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from typing import NamedTuple, TypeVar

from aiokafka.errors import KafkaError

from forebay.producers.topic_reader import TopicReader
from forebay.schemas import Cluster, ClusterError

from .record import ConversationRecord, Stream

_GATHER_S = 0.02
"""How long the first reader waits for others, in seconds."""


READ_S = 10.0
"""How long a reading may take, in seconds."""

Result = TypeVar("Result")


class _Asked(NamedTuple):
    span: range
    conversation: bytes
    answer: asyncio.Future[list[ConversationRecord]]


class Backfill:
    """Reads spans of the topics, one span of each topic at a time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        topics = cluster.topics
        self._topics = {
            Stream.REPLIES: topics.replies,
            Stream.DELTAS: topics.deltas,
            Stream.MESSAGES: topics.messages,
            Stream.REQUESTS: topics.requests,
        }
        self._asked: dict[tuple[Stream, int], list[_Asked]] = {}
        self._readings: set[asyncio.Task[None]] = set()
        self._turns = {stream: asyncio.Lock() for stream in Stream}

    async def read(self, stream: Stream, partition: int, span: range, conversation: bytes) -> list[ConversationRecord]:
        """The conversation's records in the span, in order. Raises ClusterError."""
        asked = _Asked(span, conversation, asyncio.get_running_loop().create_future())
        place = stream, partition
        if place in self._asked:
            self._asked[place].append(asked)
        else:
            self._asked[place] = [asked]
            # A task of its own: that the first who asked is gone must not be felt by the others.
            self._readings.add(task := asyncio.create_task(self._answer(stream, partition), name="gateway.history"))
            task.add_done_callback(self._readings.discard)
        return await self._in_time(asked.answer)

    async def between(
        self, stream: Stream, partition: int, between_ms: tuple[int, int], conversation: bytes
    ) -> list[ConversationRecord]:
        """The conversation's records of that time (milliseconds since the epoch). Raises ClusterError."""
        span = await self._in_time(self._span(stream, partition, between_ms))
        return await self.read(stream, partition, span, conversation)

    async def _span(self, stream: Stream, partition: int, between_ms: tuple[int, int]) -> range:
        try:
            async with TopicReader(self._cluster, self._topics[stream], [partition]) as reader:
                kept = (await reader.spans(between_ms[0]))[partition]
                return range(kept.start, (await reader.offsets_at(between_ms[1])).get(partition, kept.stop))
        except (KafkaError, OSError) as error:
            raise self._cluster.explain(error) from error

    async def _in_time(self, work: Awaitable[Result]) -> Result:
        """Bounds the wait: Kafka may accept connections and not answer."""
        try:
            return await asyncio.wait_for(work, READ_S)
        except TimeoutError:
            raise ClusterError(f"Kafka at {self._cluster.kafka} has not answered for {READ_S:g} s") from None

    async def _answer(self, stream: Stream, partition: int) -> None:
        await asyncio.sleep(_GATHER_S)
        async with self._turns[stream]:
            asked = [one for one in self._asked.pop((stream, partition)) if not one.answer.done()]
            try:
                found = await self._find(stream, partition, asked) if asked else {}
            except (KafkaError, OSError, ClusterError) as error:
                explained = error if isinstance(error, ClusterError) else self._cluster.explain(error)
                for one in asked:
                    if not one.answer.done():
                        one.answer.set_exception(explained)
                return
        for one in asked:
            if not one.answer.done():
                one.answer.set_result([record for record in found[one.conversation] if record.offset in one.span])

    async def _find(self, stream: Stream, partition: int, asked: list[_Asked]) -> dict[bytes, list[ConversationRecord]]:
        found: dict[bytes, list[ConversationRecord]] = defaultdict(list)
        wanted = {one.conversation for one in asked}
        start, stop = min(one.span.start for one in asked), max(one.span.stop for one in asked)
        async with TopicReader(self._cluster, self._topics[stream], [partition]) as reader:
            kept = (await reader.spans())[partition]
            async for raws in reader.by_partition({partition: range(max(start, kept.start), stop)}):
                for raw in raws:
                    if raw.key in wanted and (record := ConversationRecord.of(stream, raw)) is not None:
                        found[record.conversation].append(record)
        return found
