"""aiokafka alone, as it is usually written: getmany, gather by key, publish, commit the batch."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from benchmarks.calls import call_seconds, sequence_of
from benchmarks.engine_contract import Contract

from . import process, settings


class Batches:
    """Answers batch after batch; a batch ends with its slowest call."""

    def __init__(self, contract: Contract, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        self._contract = contract
        self._consumer = consumer
        self._producer = producer
        self._permits = asyncio.Semaphore(contract.concurrency)

    async def run(self) -> None:
        while True:
            # No max_records: the larger the batch, the smaller the share of its slow end.
            fetched = await self._consumer.getmany(timeout_ms=1000)
            if not fetched:
                continue
            records = (record for partition in fetched.values() for record in partition)
            await asyncio.gather(*(self._in_order(same_key) for same_key in by_key(records)))
            await self._consumer.commit()

    async def _in_order(self, records: list[ConsumerRecord]) -> None:
        for record in records:
            async with self._permits:
                await self._answer(record)

    async def _answer(self, record: ConsumerRecord) -> None:
        turn = orjson.loads(record.value)
        if seconds := call_seconds(self._contract, sequence_of(turn["turn_id"])):
            await asyncio.sleep(seconds)
        reply = {"turn_id": turn["turn_id"], "conversation_id": turn["conversation_id"]}
        await self._producer.send_and_wait(self._contract.reply_topic, orjson.dumps(reply), key=record.key)


def by_key(records: Iterable[ConsumerRecord]) -> Iterable[list[ConsumerRecord]]:
    """The records of each key, in order."""
    keys: defaultdict[bytes, list[ConsumerRecord]] = defaultdict(list)
    for record in records:
        keys[record.key].append(record)
    return keys.values()


async def work(contract: Contract) -> None:
    """Consumes until cancelled."""
    consumer = AIOKafkaConsumer(
        contract.topic,
        bootstrap_servers=contract.bootstrap,
        group_id=contract.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=contract.bootstrap, **settings.producer(contract))
    async with producer, consumer:
        await Batches(contract, consumer, producer).run()


if __name__ == "__main__":
    process.run(work)
