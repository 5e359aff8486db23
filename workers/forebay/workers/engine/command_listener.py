"""The listener to what operators command this worker over ``chat.commands``.

Read without a group, from the topic's beginning, so that a worker which is started during a pause is paused too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from forebay.producers.unreadable_record import step_over
from forebay.schemas import EVERYBODY, Cluster, Command, DecodeError, decode_command

log = structlog.get_logger()

_RETRY_S = 1.0
_WAIT_MS = 1_000
_CATCH_UP_S = 15.0
"""How long reading what is already on the topic may take, in seconds: an hour of an operator's words."""


class CommandListener:
    """Follows the commands to one worker. What is no command, or to another, changes nothing."""

    def __init__(self, cluster: Cluster, worker: str, started_at: datetime, obey: Callable[[Command], None]) -> None:
        """``obey`` is told each command to this worker; of a `drain` only one that was issued after ``started_at``."""
        self._topic = cluster.topics.commands
        self._keys = {EVERYBODY.encode(), worker.encode()}
        self._started_at = started_at
        self._obey = obey
        self._caught_up = False
        self._consumer = AIOKafkaConsumer(
            self._topic,
            client_id=worker,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=2_000,  # a command ends the wait: fewer requests cost no time
            **cluster.connection(),
        )

    async def start(self) -> None:
        """Obeys what is on the topic already. Raises KafkaError when the cluster does not answer."""
        await self._consumer.start()
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                ends = await self._consumer.end_offsets(self._consumer.assignment())
                while any([await self._consumer.position(partition) < end for partition, end in ends.items()]):
                    await self._read()
        except TimeoutError:
            raise KafkaTimeoutError(f"{self._topic} could not be read within {_CATCH_UP_S:g} s") from None
        self._caught_up = True

    async def run(self) -> None:
        """Follows the topic until cancelled; while Kafka is away it waits."""
        while True:
            try:
                await self._read()
            except KafkaError as error:
                log.warning("commands.interrupted", error=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    async def stop(self) -> None:
        """Closes the connections."""
        await self._consumer.stop()

    async def _read(self) -> None:
        try:
            # One by one: a record that aiokafka cannot read takes what was read with it.
            batches = await self._consumer.getmany(timeout_ms=_WAIT_MS, max_records=1)
        except UnicodeDecodeError:
            await self._step_over()
            return
        for place, records in batches.items():
            self._take(place, records)

    async def _step_over(self) -> None:
        positions = {place: await self._consumer.position(place) for place in self._consumer.assignment()}
        async for record in step_over(self._consumer, positions, self._take):
            log.warning("command.unreadable", offset=record.offset, error=str(record))

    def _take(self, _: TopicPartition, records: list[ConsumerRecord]) -> None:
        for record in records:
            self._hear(record)

    def _hear(self, record: ConsumerRecord) -> None:
        if record.key not in self._keys:
            return
        try:
            command = decode_command(record.value)
        except DecodeError as error:
            log.warning("command.unreadable", offset=record.offset, error=str(error))
            return
        fields = command.model_dump(mode="json", exclude={"issued_at"}) | {"issued_at": command.issued_at.isoformat()}
        if command.command == "drain" and (not self._caught_up or command.issued_at < self._started_at):
            log.info("command.ignored", **fields, reason="it is older than this worker")
            return
        log.info("command.obeyed", **fields)
        self._obey(command)
