"""The lag of a consumer group, as KEDA's Kafka trigger reads it: end offsets less committed ones."""

from __future__ import annotations

from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from forebay.schemas import Cluster


class Lag:
    """Asks Kafka. Use it as a context manager."""

    def __init__(self, cluster: Cluster, group: str) -> None:
        self._topic, self._group = cluster.topics.requests, group
        self._cluster = cluster
        self._partitions: list[TopicPartition] = []

    async def __aenter__(self) -> Self:
        self._admin = AIOKafkaAdminClient(**self._cluster.connection())
        await self._admin.start()
        self._consumer = AIOKafkaConsumer(enable_auto_commit=False, **self._cluster.connection())
        await self._consumer.start()
        (described,) = await self._admin.describe_topics([self._topic])
        self._partitions = [TopicPartition(self._topic, part["partition"]) for part in described["partitions"]]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        await self._admin.close()

    async def read(self) -> int:
        """Turns that are not committed, those in flight among them. Raises KafkaError while Kafka cannot tell."""
        ends = await self._consumer.end_offsets(self._partitions)
        committed = await self._admin.list_consumer_group_offsets(self._group, partitions=self._partitions)
        return sum(
            end - max(0, committed[partition].offset if partition in committed else 0)
            for partition, end in ends.items()
        )
