"""Worker processes, and customers whose every turn and reply is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import ConsumerRecord

from forebay.producers import ChatClient, new_turn
from forebay.producers.feed import Feed
from forebay.rehearsal.delivery_check import DeliveryCheck, remembered
from forebay.rehearsal.model_api import ModelApi, parse_reply
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, decode_reply


class Customers:
    """Sends turns and counts replies, as the demo does."""

    def __init__(self, cluster: Cluster, chat: ChatClient) -> None:
        self.check = DeliveryCheck()
        self._chat = chat
        self.feed = Feed(cluster, cluster.topics.replies, self._read)

    async def send(self, turns: int, conversations: int, first: int = 0) -> None:
        """Turn n goes to conversation n modulo ``conversations``; its text is unlike any other's."""
        batch = []
        for number in range(first, first + turns):
            turn = new_turn(f"Question number {number}", conversation_id=f"c-{number % conversations}")
            self.check.turn_sent(turn.conversation_id, turn.turn_id, time.monotonic())
            batch.append(turn)
        await self._chat.send_many(batch)

    async def replied(self, count: int, timeout_s: float = 90.0) -> None:
        """Waits until so many turns have a reply."""
        await self._until(lambda: self.check.replied >= count, timeout_s)

    async def all_replied(self, timeout_s: float = 90.0) -> None:
        """Waits until every turn has a reply."""
        await self._until(lambda: self.check.replied == self.check.sent, timeout_s)

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.02)

    def _read(self, record: ConsumerRecord) -> None:
        reply = decode_reply(record.value)
        conversation = self.check.conversations.get(reply.conversation_id)
        if conversation is None or reply.turn_id not in self.check.sent_at:
            return
        place = conversation.sent.index(reply.turn_id) + 1
        knows = reply.outcome == "answered" and remembered(parse_reply(reply.text).turn, place - 1)
        self.check.reply_read(reply, record.value, time.monotonic(), knows)


@pytest_asyncio.fixture
async def customers(cluster: Cluster) -> AsyncIterator[Customers]:
    async with ChatClient(cluster) as chat:
        customers = Customers(cluster, chat)
        await customers.feed.start()
        yield customers
        await customers.feed.stop()


Spawn = Callable[..., WorkerProcess]


@pytest.fixture
def spawn(cluster: Cluster, model_api: ModelApi, tmp_path: Path) -> Iterator[Spawn]:
    """Starts worker processes that share one store."""
    started: list[WorkerProcess] = []

    def start(**settings: object) -> WorkerProcess:
        environment = {
            "FOREBAY_KAFKA": cluster.kafka,
            "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
            "FOREBAY_STORE": f"sqlite:///{tmp_path / 'conversations.db'}",
            **{f"FOREBAY_{name.upper()}": str(value) for name, value in settings.items()},
        }
        started.append(WorkerProcess(f"worker-{len(started)}", tmp_path, environment))
        return started[-1]

    yield start
    for worker in started:
        worker.close()
