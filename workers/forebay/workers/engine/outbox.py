"""Outbox: publishes the records of turns. What goes out is acknowledged by all in-sync replicas.

Records are gathered into one batch a partition, and the next batch of a partition is sent when the one before is
acknowledged: order is kept, an idle reply leaves at once, and under load batches grow by themselves. One future for a
batch instead of one for each record costs a third of aiokafka's `send`. Rounds of batches are paced (`BatchPacing`), so that
a busy worker does not spend itself on small requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaProducer

from forebay.producers.partition import partition_of
from forebay.schemas import Cluster, ClusterError, Headers
from forebay.telemetry.metrics import sent as count_sent

log = structlog.get_logger()

_BATCH_BYTES = 128 * 1024


class OutboxError(ClusterError):
    """Kafka will not take a record, whatever is tried: the worker must stop and start from what is committed."""


class OutboundRecord(NamedTuple):
    """One record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class BatchPacing:
    """How often a round of batches leaves: a token bucket. A few replies leave at once; many leave together."""

    ROUNDS_A_SECOND = 100.0
    BURST = 20.0

    def __init__(self, now: float) -> None:
        self._tokens = self.BURST
        self._at = now

    def wait_s(self, now: float) -> float:
        """Takes one round; returns the seconds to wait before it."""
        self._tokens = min(self.BURST, self._tokens + (now - self._at) * self.ROUNDS_A_SECOND) - 1.0
        self._at = now
        return max(0.0, -self._tokens / self.ROUNDS_A_SECOND)


class _Pending:
    """Records that belong together, such as a dead letter and the reply that says so."""

    __slots__ = ("acked", "left")

    def __init__(self, left: int, acked: Callable[[], None]) -> None:
        self.left = left
        self.acked = acked

    def one_acked(self) -> None:
        self.left -= 1
        if not self.left:
            self.acked()


Pile = deque[tuple[OutboundRecord, _Pending]]


class Outbox:
    """Publishes records in the order they are given, for each partition."""

    def __init__(self, cluster: Cluster, client_id: str) -> None:
        self._producer = AIOKafkaProducer(
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            compression_type="lz4",
            **cluster.connection(),
        )
        self._partitions: dict[str, list[int]] = {}
        self._piles: dict[tuple[str, int], Pile] = {}
        self._in_flight: dict[tuple[str, int], float] = {}  # when the batch of a partition was sent, oldest first
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._pace = BatchPacing(self._loop.time())
        self.waiting = 0
        """Records given and not yet acknowledged."""

    async def start(self, topics: Sequence[str]) -> None:
        """Connects and learns the partitions of the topics it will write to. Raises KafkaError."""
        await self._producer.start()
        for topic in topics:
            self._partitions[topic] = sorted(await self._producer.partitions_for(topic))

    async def stop(self) -> None:
        """Closes the connections; call `flushed` first."""
        if self.waiting:
            # aiokafka's `stop` waits until everything is sent, for ever when Kafka is away; what was not acknowledged
            # is not committed either.
            self._producer._message_accumulator.fail_all(OutboxError("the worker stopped before Kafka took it"))
        await self._producer.stop()

    def publish(self, records: Sequence[OutboundRecord], acked: Callable[[], None]) -> None:
        """Takes records to be sent; ``acked`` is called once when all of them are durable."""
        parcel = _Pending(len(records), acked)
        for record in records:
            place = record.topic, self._partition(record)
            pile = self._piles.get(place)
            if pile is None:
                pile = self._piles[place] = deque()
            pile.append((record, parcel))
        self.waiting += len(records)
        self._idle.clear()
        self._work.set()

    def send(self, topic: str, key: bytes, value: bytes) -> None:
        """Takes one record that nobody waits for."""
        self.publish([OutboundRecord(topic, key, value)], lambda: None)

    def unacknowledged_s(self, now: float) -> float:
        """For how long the oldest batch has waited for its acknowledgement; ``now`` on the clock of the event loop."""
        oldest = next(iter(self._in_flight.values()), None)
        return 0.0 if oldest is None else now - oldest

    async def flushed(self) -> None:
        """Waits until everything given so far is acknowledged."""
        if self.waiting:
            await self._idle.wait()

    async def run(self) -> None:
        """Sends until cancelled. Raises KafkaError when the producer can no longer be trusted."""
        while True:
            await self._work.wait()
            if rest := self._pace.wait_s(self._loop.time()):
                await asyncio.sleep(rest)
            self._work.clear()
            if self._error is not None:
                # An idempotent producer that missed a number accepts nothing more: start again from what is committed.
                raise OutboxError(f"Kafka refused a record for good: {self._error!r}") from self._error
            for place in [place for place in self._piles if place not in self._in_flight]:
                await self._send(place)

    async def _send(self, place: tuple[str, int]) -> None:
        topic, partition = place
        pile, batch, sent = self._piles[place], self._producer.create_batch(), Pile()
        while pile:
            record = pile[0][0]
            if batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers)) is None:
                break
            sent.append(pile.popleft())
        if not pile:
            del self._piles[place]
        batch.close()
        began = self._in_flight[place] = self._loop.time()
        delivery = await self._producer.send_batch(batch, topic, partition=partition)
        delivery.add_done_callback(lambda done: self._delivered(place, sent, began, done))

    def _delivered(self, place: tuple[str, int], sent: Pile, began: float, delivery: asyncio.Future[object]) -> None:
        self._in_flight.pop(place, None)
        if place in self._piles:
            self._work.set()
        if delivery.cancelled():
            return
        error = delivery.exception()
        count_sent(place[0], len(sent), self._loop.time() - began, error)
        if error is not None:
            self._error = error
            self._work.set()
            return
        self.waiting -= len(sent)
        if not self.waiting:
            self._idle.set()
        for _, parcel in sent:
            parcel.one_acked()

    def _partition(self, record: OutboundRecord) -> int:
        known = self._partitions[record.topic]
        return 0 if len(known) == 1 else partition_of(record.key, len(known))
