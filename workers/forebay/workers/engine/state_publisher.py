"""The publisher of a worker's state: on ``chat.workers``, once a second.

It has a producer of its own, beside the outbox: a state that is lost is not missed, and the topic that it is for must never
hold up a reply or stop a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from forebay.schemas import Cluster, WorkerState, encode

log = structlog.get_logger()

REPORT_S = 1.0
"""Between two states, in seconds."""
_LEAVE_S = 2.0
"""How long the tombstone may take, in seconds."""
_KAFKA_MS = 5_000


class StatePublisher:
    """Publishes the states of one worker: the next when the last is acknowledged, so that none pile up."""

    def __init__(self, cluster: Cluster, worker: str) -> None:
        self._topic = cluster.topics.workers
        self._key = worker.encode()
        self._left = False
        self._producer = AIOKafkaProducer(
            client_id=worker, acks=1, request_timeout_ms=_KAFKA_MS, compression_type="lz4", **cluster.connection()
        )

    async def start(self) -> None:
        """Connects. Raises KafkaError when the cluster does not answer."""
        await self._producer.start()

    async def run(self, state: Callable[[], WorkerState]) -> None:
        """Publishes until cancelled, or until `leave`; while Kafka does not take a state, no other is made."""
        loop, lost = asyncio.get_running_loop(), False
        while not self._left:
            began = loop.time()
            try:
                await self._producer.send_and_wait(self._topic, encode(state()), key=self._key)
            except KafkaError as error:
                if not lost:
                    log.warning("report.lost", error=str(error) or type(error).__name__)
                lost = True
            else:
                lost = False
            await asyncio.sleep(max(0.0, began + REPORT_S - loop.time()))

    async def leave(self) -> None:
        """Ends with a tombstone, so that nobody misses this worker; where Kafka is away, without one."""
        self._left = True
        try:
            await asyncio.wait_for(self._producer.send_and_wait(self._topic, None, key=self._key), _LEAVE_S)
        except (KafkaError, TimeoutError) as error:
            log.warning("report.lost", error=str(error) or type(error).__name__)

    async def stop(self) -> None:
        """Closes the connections."""
        await self._producer.stop()
