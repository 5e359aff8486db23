"""Reads topics: while a run goes on, to know when it is over, and whole ones afterwards, to count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.producers.feed import Feed
from forebay.schemas import Cluster

from .evidence import Place, TopicRecord
from .script import Line

_WHOLE_S = 120.0
_JOINED_S = 60.0


class Follower:
    """Sees replies and dead letters as they come. What it saw decides only how long to wait, never a count."""

    def __init__(self, cluster: Cluster, script: Iterable[Line]) -> None:
        self._turns = {line.turn_id for line in script if line.poison is None}
        self._feeds = [
            Feed(cluster, cluster.topics.replies, self._on_reply),
            Feed(cluster, cluster.topics.dead_letters, self._on_dead_letter),
        ]
        self.replied: set[str] = set()
        self.buried: set[Place] = set()

    async def start(self) -> None:
        """Sees everything published from now on."""
        for feed in self._feeds:
            await feed.start()

    async def stop(self) -> None:
        """Stops reading."""
        for feed in self._feeds:
            await feed.stop()

    def _on_reply(self, record: ConsumerRecord) -> None:
        turn_id = orjson.loads(record.value)["turn_id"]
        if turn_id in self._turns:
            self.replied.add(turn_id)

    def _on_dead_letter(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        self.buried.add((int(headers["dlq.partition"]), int(headers["dlq.offset"])))


async def until_joined(cluster: Cluster, group: str, members: int) -> None:
    """Waits until so many members share the partitions: before that, every one that joins moves them around."""
    admin = AIOKafkaAdminClient(**cluster.connection())
    await admin.start()
    try:
        async with asyncio.timeout(_JOINED_S):
            while await _stable_members(admin, group) != members:
                await asyncio.sleep(0.2)
    finally:
        await admin.close()


async def _stable_members(admin: AIOKafkaAdminClient, group: str) -> int:
    try:
        (described,) = await admin.describe_consumer_groups([group])
    except KafkaError:
        return 0  # a fresh cluster has no coordinator yet
    ((code, _, state, _, _, members, *_),) = described.groups
    return len(members) if (code, state) == (0, "Stable") else 0


async def whole(cluster: Cluster, topic: str) -> list[TopicRecord]:
    """Every record of a topic, from its beginning to what is its end now."""
    return [_record(record) for record in await records_of(cluster, topic)]


async def records_of(cluster: Cluster, topic: str) -> list[ConsumerRecord]:
    """The same as Kafka's client gives them, by partition and offset; also what no transaction has committed."""
    consumer = AIOKafkaConsumer(
        topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=4 << 20,
        **cluster.connection(),
    )
    await consumer.start()
    try:
        async with asyncio.timeout(_WHOLE_S):
            records = await _to_the_end(consumer)
    finally:
        await consumer.stop()
    return sorted(records, key=lambda record: (record.partition, record.offset))


async def _to_the_end(consumer: AIOKafkaConsumer) -> list[ConsumerRecord]:
    ends = await consumer.end_offsets(consumer.assignment())
    records: list[ConsumerRecord] = []
    while any([await consumer.position(partition) < end for partition, end in ends.items()]):
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            records += batch
    return records


def _record(record: ConsumerRecord) -> TopicRecord:
    headers = {name: value or b"" for name, value in record.headers}
    return TopicRecord(record.partition, record.offset, record.timestamp / 1000, record.key, record.value, headers)
