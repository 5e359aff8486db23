"""A feed: one consumer that reads a topic from its end, shared by all callers of a process.

It has no consumer group: every frontend process reads every reply and picks out its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from forebay.schemas import Cluster

log = logging.getLogger(__name__)

_RETRY_S = 0.5


class Feed:
    """Calls one function for each record of a topic from the moment it starts."""

    def __init__(self, cluster: Cluster, topic: str, on_record: Callable[[ConsumerRecord], None]) -> None:
        self._topic = topic
        self._on_record = on_record
        self._consumer = AIOKafkaConsumer(
            topic, enable_auto_commit=False, auto_offset_reset="latest", **cluster.connection()
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when it is at the end of every partition: everything published from then on is seen."""
        await self._consumer.start()
        for partition in self._consumer.assignment():
            await self._consumer.position(partition)
        self._task = asyncio.create_task(self._read(), name=f"feed.{self._topic}")

    async def stop(self) -> None:
        """Stops reading. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=1000)
            except OffsetOutOfRangeError as error:
                await self._consumer.seek_to_end(*error.args[0])
            except KafkaError as error:
                log.warning("the feed of %s is interrupted: %s", self._topic, error)
                await asyncio.sleep(_RETRY_S)
            else:
                for records in batches.values():
                    for record in records:
                        self._on_record(record)
