"""A gateway inside the test's own loop, tokens for it, and a hand that answers turns as a test wants."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from forebay.gateway import Gateway, GatewaySettings
from forebay.schemas import Cluster, Delta, Reply, new_id

SECRET = b"a secret of tests, of 32 bytes or more"


def serving(cluster: Cluster, **settings: Any) -> AbstractAsyncContextManager[Gateway]:
    """A gateway on a free port; open unless ``settings`` give it keys."""
    given = {"gateway_open": "gateway_keys" not in settings, "gateway_port": 0, "health_port": 0}
    return Gateway.running(cluster, GatewaySettings(**given | settings))


@pytest_asyncio.fixture
async def gateway(cluster: Cluster) -> AsyncIterator[Gateway]:
    """An open one."""
    async with serving(cluster) as running:
        yield running


def write_keys(folder: Path) -> Path:
    """A key set with which `token` signs."""
    key = base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode()
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": [{"kty": "oct", "kid": "k1", "alg": "HS256", "k": key}]}))
    return file


def token(*conversations: str, user: str = "u-1", **claims: Any) -> str:
    """A customer's token."""
    told = {"sub": user, "conversations": conversations, "exp": int(time.time()) + 600}
    return jwt.encode(told | claims, SECRET, "HS256", headers={"kid": "k1"})


class Hand:
    """Writes deltas and replies, as a worker does."""

    def __init__(self, cluster: Cluster, producer: AIOKafkaProducer) -> None:
        self._topics, self._producer = cluster.topics, producer

    async def delta(self, turn: tuple[str, str], sequence: int, text: str, *, restart: bool = False) -> None:
        """Some words of a turn, which is given by its conversation and its id."""
        said = Delta(turn_id=turn[1], conversation_id=turn[0], sequence=sequence, text=text, restart=restart)
        await self._write(self._topics.deltas, turn[0], said.model_dump_json())

    async def reply(self, turn: tuple[str, str], text: str, **fields: Any) -> Reply:
        """Its final reply."""
        given = {"turn_id": turn[1], "conversation_id": turn[0], "reply_id": new_id(), "created_at": datetime.now(UTC)}
        reply = Reply(**{**given, "outcome": "answered", "text": text, **fields})
        await self._write(self._topics.replies, turn[0], reply.model_dump_json())
        return reply

    async def _write(self, topic: str, conversation: str, value: str) -> None:
        await self._producer.send_and_wait(topic, value.encode(), key=conversation.encode())


@pytest_asyncio.fixture
async def hand(cluster: Cluster) -> AsyncIterator[Hand]:
    async with _producing(cluster) as producer:
        yield Hand(cluster, producer)


@asynccontextmanager
async def _producing(cluster: Cluster) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**cluster.connection())
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()
