"""Remembered messages: what persons of the shop write on ``chat.messages`` goes into their conversations' history.

The workers share the topic in a group of its own, ``<group>.messages``; a message is committed when the store has it.
"""

from __future__ import annotations

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from forebay.producers.unreadable_record import step_over
from forebay.schemas import Cluster, DecodeError, decode_person_message

from .conversations import Store, StoreError

log = structlog.get_logger()

_WAIT_MS = 1_000
_RETRY_S = 1.0
_MOST = 100
"""Messages taken at once."""


class RememberedMessages:
    """Reads the topic until cancelled. Turns do not wait for it, nor for the store behind it."""

    def __init__(self, cluster: Cluster, group: str, worker: str, store: Store) -> None:
        self._store = store
        self._consumer = AIOKafkaConsumer(
            cluster.topics.messages,
            group_id=f"{group}.messages",
            client_id=worker,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=2_000,  # a message ends the wait
            **cluster.connection(),
        )

    async def run(self) -> None:
        """Remembers what comes; while Kafka or the store is away it waits."""
        try:
            while not await self._started():
                await asyncio.sleep(_RETRY_S)
            while True:
                try:
                    await self._read()
                except KafkaError as error:
                    log.warning("messages.interrupted", error=str(error) or type(error).__name__)
                    await asyncio.sleep(_RETRY_S)
        finally:
            await self._consumer.stop()

    async def _started(self) -> bool:
        try:
            await self._consumer.start()
        except KafkaError as error:
            log.warning("messages.interrupted", error=str(error) or type(error).__name__)
            return False
        return True

    async def _read(self) -> None:
        try:
            batches = await self._consumer.getmany(timeout_ms=_WAIT_MS, max_records=_MOST)
        except UnicodeDecodeError:
            await self._step_over()
            return
        for records in batches.values():
            for record in records:
                await self._remember(record)
        if batches:
            await self._consumer.commit()

    async def _step_over(self) -> None:
        """Takes once more what was read with the unreadable record: from where it was committed."""
        places = self._consumer.assignment()
        starts = await self._consumer.beginning_offsets(list(places))
        committed = {place: await self._consumer.committed(place) for place in places}
        found = list[ConsumerRecord]()

        def take(_: TopicPartition, records: list[ConsumerRecord]) -> None:
            found.extend(records)

        positions = {place: committed[place] or starts[place] for place in places}
        async for unreadable in step_over(self._consumer, positions, take):
            log.warning("message.unreadable", offset=unreadable.offset, error=str(unreadable))
        for record in found:
            await self._remember(record)
        await self._consumer.commit()

    async def _remember(self, record: ConsumerRecord) -> None:
        try:
            message = decode_person_message(record.value)
        except DecodeError as error:
            log.warning("message.unreadable", partition=record.partition, offset=record.offset, error=str(error))
            return
        at = record.timestamp / 1000 if message.at is None else message.at.timestamp()
        while True:
            try:
                await self._store.remember_message(
                    message.conversation_id, message.message_id, message.name, message.text, at
                )
            except StoreError as error:
                log.warning("message.not_remembered", error=str(error), retry_s=_RETRY_S)
                await asyncio.sleep(_RETRY_S)
            else:
                return
