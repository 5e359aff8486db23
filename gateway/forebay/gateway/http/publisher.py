"""Publisher: writes to Kafka what is no turn: cancellations, persons' messages, feedback."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import BaseModel

from forebay.gateway.settings import GatewaySettings
from forebay.schemas import Cancellation, Cluster, encode

from .access import Caller
from .admission import TurnAdmission
from .problem import Problem, kafka_away

log = structlog.get_logger()

MOST_LEFT = 2_000
"""Cancellations for clients that left which are on their way at once; further ones are dropped, and logged."""


class Publisher:
    """Writes records that are keyed by their conversation, as many of each user a second as turns are taken."""

    def __init__(self, cluster: Cluster, settings: GatewaySettings) -> None:
        self._cluster, self._patience_s = cluster, settings.gateway_accept_s
        self._admission = TurnAdmission(
            everyone=settings.gateway_turns_a_second,
            tenant=settings.gateway_tenant_turns_a_second,
            user=settings.gateway_user_turns_a_second,
            user_burst=settings.gateway_user_burst,
            now=time.monotonic(),
        )
        self._left: set[asyncio.Task[None]] = set()
        # Not idempotent, as the one of turns: what is written twice means the same.
        self._producer = AIOKafkaProducer(
            acks="all", enable_idempotence=False, compression_type="lz4", **cluster.connection()
        )

    async def start(self) -> None:
        """Connects. Raises KafkaError, and ClusterError when a topic is missing."""
        await self._producer.start()
        topics = self._cluster.topics
        existing = (await self._producer.client.fetch_all_metadata()).topics()
        self._cluster.missing(existing, (topics.cancellations, topics.messages, topics.feedback))

    async def stop(self) -> None:
        """Waits a moment for what is on its way."""
        if self._left:
            await asyncio.wait(self._left, timeout=self._patience_s)
        try:
            await asyncio.wait_for(self._producer.stop(), self._patience_s)
        except TimeoutError:
            log.warning("gateway.not_published")

    async def cancel(self, conversation: str, turn_id: str, caller: Caller) -> None:
        """Takes a turn back in the name of the caller; returns when all in-sync replicas have it. Raises Problem."""
        self.admit(caller)
        await self.publish(
            self._cluster.topics.cancellations, conversation, _cancellation(conversation, turn_id, caller)
        )

    def cancel_soon(self, conversation: str, turn_id: str, caller: Caller) -> None:
        """The same in the background, for a client that has left; what fails is logged."""
        if len(self._left) >= MOST_LEFT:
            log.warning("gateway.not_taken_back", turn_id=turn_id, error=f"{MOST_LEFT} others are on their way")
            return
        self._left.add(task := asyncio.create_task(self._cancel(conversation, turn_id, caller), name="gateway.left"))
        task.add_done_callback(self._left.discard)

    async def publish(self, topic: str, conversation: str, message: BaseModel) -> None:
        """Returns when all in-sync replicas have it. Raises Problem."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._producer.send_and_wait(topic, value=encode(message), key=conversation.encode())
        except (KafkaError, TimeoutError) as error:
            log.warning("gateway.not_published", topic=topic, error=str(error) or type(error).__name__)
            raise kafka_away("Kafka does not take it now; send it again") from error

    def admit(self, caller: Caller) -> None:
        """Counts one record of the caller. Raises Problem when these are too many."""
        user = None if caller.server else caller.user_id
        limit = self._admission.admit(user, caller.tenant, time.monotonic())
        if limit is not None:
            raise Problem(429, f"{limit.whose} sends too many requests", retry_after_s=limit.retry_after_s)

    async def _cancel(self, conversation: str, turn_id: str, caller: Caller) -> None:
        word = _cancellation(conversation, turn_id, caller)
        try:
            await self.publish(self._cluster.topics.cancellations, conversation, word)
        except Problem as problem:
            log.warning("gateway.not_taken_back", turn_id=turn_id, error=problem.detail)


def _cancellation(conversation: str, turn_id: str, caller: Caller) -> Cancellation:
    # A token that names no user is no server: the empty name is nobody's, so it takes back turns without a user only.
    user = None if caller.server else caller.user_id or ""
    return Cancellation(conversation_id=conversation, turn_id=turn_id, user_id=user, at=datetime.now(UTC))
