"""The listener to ``chat.cancellations``: every worker hears all of the last hour, whichever partitions are its own.

So a cancellation holds across crashes, rebalances and workers that start later, and where it comes before its turn.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaTimeoutError

from forebay.schemas import Cancellation, Cluster, DecodeError, decode_cancellation

from .topic_listener import TopicListener

log = structlog.get_logger()

_HOUR_S = 3600.0
"""As long as the topic keeps them."""


class CancellationListener:
    """Tells which turns are no longer wanted."""

    def __init__(self, cluster: Cluster, worker: str, take_back: Callable[[Cancellation, int], None]) -> None:
        """``take_back`` is given each cancellation and its record's timestamp, in milliseconds since the epoch."""
        self._take_back = take_back
        self._listener = TopicListener(cluster, cluster.topics.cancellations, worker, self._hear, _HOUR_S)
        self.run, self.stop = self._listener.run, self._listener.stop

    async def start(self) -> None:
        """Hears what is on the topic already. Raises KafkaError when the cluster does not answer."""
        try:
            await self._listener.start()
        except KafkaTimeoutError as error:  # turns matter more: the rest is heard while they are answered
            log.warning("cancellations.late", error=str(error))

    def _hear(self, record: ConsumerRecord) -> None:
        try:
            cancellation = decode_cancellation(record.value)
        except DecodeError as error:
            log.warning("cancellation.unreadable", partition=record.partition, offset=record.offset, error=str(error))
            return
        self._take_back(cancellation, record.timestamp)
