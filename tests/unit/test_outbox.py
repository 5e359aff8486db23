"""The outbox, on a producer that acknowledges what it is told to: how long Kafka has owed an acknowledgement."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from forebay.schemas import Cluster
from forebay.workers.engine import outbox as module
from forebay.workers.engine.outbox import OutboundRecord, Outbox


class Batch:
    def append(self, **_: Any) -> object:
        return object()

    def close(self) -> None:
        """It takes no more."""


class Producer:
    """Has one partition of each topic."""

    def __init__(self, **_: Any) -> None:
        self.sent: list[asyncio.Future[object]] = []

    async def start(self) -> None:
        """It is there."""

    async def partitions_for(self, _: str) -> Sequence[int]:
        return [0]

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, _: Batch, topic: str, partition: int) -> asyncio.Future[object]:
        self.sent.append(asyncio.get_running_loop().create_future())
        return self.sent[-1]


async def until_sent(producer: Producer, batches: int) -> None:
    async with asyncio.timeout(30):
        while len(producer.sent) < batches:
            await asyncio.sleep(0)


async def test_a_busy_outbox_is_not_taken_for_one_whose_kafka_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AIOKafkaProducer", Producer)
    now = asyncio.get_running_loop().time
    outbox = Outbox(Cluster(), "w-1")
    producer: Any = outbox._producer
    await outbox.start(["chat.replies"])
    assert outbox.unacknowledged_s(now()) == 0.0
    running = asyncio.create_task(outbox.run())
    record = OutboundRecord("chat.replies", b"c", b"x")
    outbox.publish([record], lambda: None)
    await until_sent(producer, 1)
    assert outbox.unacknowledged_s(now() + 60.0) >= 60.0
    for number in range(1, 4):
        outbox.publish([record], lambda: None)  # here before the one before it is acknowledged: something always waits
        acknowledged_at = now()
        producer.sent[-1].set_result(None)
        await until_sent(producer, number + 1)
        assert outbox.waiting == 1
        assert outbox.unacknowledged_s(acknowledged_at + 60.0) <= 60.0
    running.cancel()
