"""aiokafka alone, as it is usually written: getmany, gather by key, publish, commit the batch."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import anthropic
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import CommitFailedError, IllegalStateError

from forebay.schemas import Cluster

from .answer import CONCURRENCY, GROUP, SESSION_MS, answer, client, decode, say, until_sigterm


class Batches:
    """Answers batch after batch; a batch ends with its slowest call."""

    def __init__(self, model: anthropic.AsyncAnthropic, producer: AIOKafkaProducer, topic: str) -> None:
        self._model = model
        self._producer = producer
        self._topic = topic
        self._permits = asyncio.Semaphore(CONCURRENCY)

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Works until cancelled."""
        while True:
            fetched = await consumer.getmany(timeout_ms=1000)
            if not fetched:
                continue
            keys: defaultdict[bytes | None, list[ConsumerRecord]] = defaultdict(list)
            for records in fetched.values():
                for record in records:
                    keys[record.key].append(record)
            await asyncio.gather(*(self._in_order(same_key) for same_key in keys.values()))
            try:
                await consumer.commit()
            except (CommitFailedError, IllegalStateError):
                say("peer.commit_failed")  # the group moved on; the batch comes again

    async def _in_order(self, records: list[ConsumerRecord]) -> None:
        for record in records:
            if (turn := decode(record.value)) is None:
                continue
            async with self._permits:
                reply = await answer(self._model, turn)
            await self._producer.send_and_wait(self._topic, reply, key=turn["conversation_id"].encode())


async def work() -> None:
    """Consumes until cancelled."""
    cluster = Cluster.read()
    consumer = AIOKafkaConsumer(
        cluster.topics.requests,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=500,
        **cluster.connection(),
    )
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **cluster.connection())
    async with producer, consumer, client() as model:
        say("peer.started")
        await Batches(model, producer, cluster.topics.replies).run(consumer)


if __name__ == "__main__":
    until_sigterm(work())
