"""The replies of a run: what arrived, when, and in which order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from .calls import sequence_of


@dataclass(slots=True)
class Replies:
    """Every reply read so far."""

    counts: Counter[int] = field(default_factory=Counter)
    """Replies per sequence number."""

    times: list[float] = field(default_factory=list)
    """When each turn's first reply was durable, Unix seconds by the broker's clock (resolution 1 ms)."""

    out_of_order: int = 0
    """First replies that came after the reply to a later turn of the same conversation."""

    _latest: dict[str, int] = field(default_factory=dict)

    def add(self, sequence: int, conversation: str, at: float) -> None:
        """Notes one reply, in the order of its partition."""
        self.counts[sequence] += 1
        if self.counts[sequence] > 1:
            return
        self.times.append(at)
        latest = self._latest.get(conversation, 0)
        self.out_of_order += sequence < latest
        self._latest[conversation] = max(latest, sequence)

    @property
    def answered(self) -> int:
        """Turns with at least one reply."""
        return len(self.counts)

    @property
    def duplicates(self) -> int:
        """Replies beyond the first of a turn."""
        return self.counts.total() - self.answered


class ReplyTopic:
    """Counts a run's replies cheaply while it lasts (end offsets only) and reads them afterwards.

    Runs of a scenario share the topic: this one's replies begin where the topic ended before it.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        self._partition = TopicPartition(topic, 0)
        self._begin = 0
        self.replies = Replies()

    async def __aenter__(self) -> ReplyTopic:
        await self._consumer.start()
        self._consumer.assign([self._partition])
        self._consumer.pause(self._partition)
        self._begin = await self._end()
        self._consumer.seek(self._partition, self._begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def count(self) -> int:
        """Replies written so far, duplicates included."""
        return await self._end() - self._begin

    async def _end(self) -> int:
        ends = await self._consumer.end_offsets([self._partition])
        return int(ends[self._partition])

    async def read(self) -> Replies:
        """Reads what has been written and not yet been read."""
        end = await self.count()
        self._consumer.resume(self._partition)
        while self.replies.counts.total() < end:
            fetched = await self._consumer.getmany(self._partition, timeout_ms=500)
            for records in fetched.values():
                for record in records:
                    reply = orjson.loads(record.value)
                    sequence = sequence_of(reply["turn_id"])
                    self.replies.add(sequence, reply["conversation_id"], record.timestamp / 1000.0)
        self._consumer.pause(self._partition)
        return self.replies
