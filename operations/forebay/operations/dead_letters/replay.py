"""Sends dead letters again: each parcel of them and the marks that say so are one Kafka transaction.

So whatever dies in the middle, a letter is sent and marked or neither. The transactional id belongs to the topic: who
starts a replay ends the one that ran before, in order, and reads its marks before it sends anything.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
    TransactionalIdAuthorizationFailed,
)

from forebay.producers.topic_reader import record_bytes
from forebay.schemas import Cluster, ClusterError, Headers
from forebay.schemas.headers import replay_headers

from .letter import LetterId, letter_of, way_back
from .replay_plan import write_mark

TRANSACTION_S = 15.0
"""How long a transaction may stay open, in seconds: a killed replay hides what lies behind it from readers of committed
records for so long, or until the next replay begins.
"""
_START_S = 30.0
_CLOSE_S = 3.0
_BATCH_BYTES = 256 * 1024
_PARCEL_BYTES = 2 * 1024 * 1024


class ReplayTakenOverError(ClusterError):
    """Another replay of the same dead letters began, or Kafka waited too long for this one. What it did is marked."""


class TransactionRecord(NamedTuple):
    """One record to send within a transaction."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class ReplayProducer:
    """The transactional producer of replays. Use it as a context manager: no other replay sends while this one does."""

    def __init__(self, cluster: Cluster, topic: str, back_to: str, partitions: Sequence[int]) -> None:
        """``topic`` is that of the letters; they go to the ``partitions`` of ``back_to``."""
        self._cluster = cluster
        self._topic, self._back_to, self._partitions = topic, back_to, partitions
        self._producer = self._new()

    async def __aenter__(self) -> Self:
        """Connects; ends a transaction that another replay left open. Raises ClusterError."""
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def send(self, letters: Sequence[ConsumerRecord]) -> list[LetterId]:
        """Sends letters in order and marks them; returns those that the other topic does not take: too large.

        Raises ReplayTakenOverError, ClusterError, KafkaError; then nothing of these was sent, or all of it.
        """
        try:
            await self._transaction(list(self._outgoing(letters)))
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            await self._renew()  # its sequence numbers have a gap now, and Kafka would take nothing more from it
            if len(letters) == 1:
                return [LetterId(letters[0].partition, letters[0].offset)]
            half = len(letters) // 2
            return await self.send(letters[:half]) + await self.send(letters[half:])
        except ProducerFenced as error:
            raise ReplayTakenOverError(
                f"another replay of {self._topic} took over, or Kafka waited more than {TRANSACTION_S:.0f} s "
                "for this one: what was replayed is marked, the same command goes on with the rest"
            ) from error
        except TimeoutError as error:
            raise ClusterError(
                f"Kafka at {self._cluster.kafka} did not acknowledge a replay within {TRANSACTION_S:.0f} s: what was "
                "replayed is marked, the same command goes on with the rest"
            ) from error
        return []

    async def settle(self) -> None:
        """Returns when readers see what was sent: Kafka acknowledges a commit before it has told all partitions, but lets
        the next producer of the same id in only afterwards.
        """
        await self._renew()

    def _outgoing(self, letters: Sequence[ConsumerRecord]) -> Iterator[TransactionRecord]:
        replayed: defaultdict[int, list[int]] = defaultdict(list)
        for record in letters:
            partition = way_back(letter_of(record), self._back_to, self._partitions)
            headers = replay_headers(record.headers, f"{record.topic}-{record.partition}-{record.offset}")
            yield TransactionRecord(self._back_to, partition, record.key, record.value, headers)
            replayed[record.partition].append(record.offset)
        for partition, offsets in replayed.items():
            value, headers = write_mark(self._topic, partition, offsets)
            yield TransactionRecord(self._topic, partition, None, value, headers)

    async def _transaction(self, records: Sequence[TransactionRecord]) -> None:
        """All of it or nothing. Raises KafkaError, TimeoutError."""
        await self._producer.begin_transaction()
        sent: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(TRANSACTION_S):
                for (topic, partition), batch in self._batches(records):
                    delivery = await self._producer.send_batch(batch, topic, partition=partition)
                    delivery.add_done_callback(_looked_at)
                    sent.append(delivery)
                await asyncio.gather(*sent)
        except TimeoutError:
            # Kafka is away: it ends the transaction by itself, or the next replay does. aiokafka would wait for ever.
            self._producer._message_accumulator.fail_all(TimeoutError())
            raise
        except BaseException:
            await self._abort()
            raise
        async with asyncio.timeout(TRANSACTION_S):
            await self._producer.commit_transaction()

    def _batches(self, records: Sequence[TransactionRecord]) -> list[tuple[tuple[str, int], Any]]:
        """Full batches in order, for each partition."""
        open_batches: dict[tuple[str, int], Any] = {}
        batches = []
        for topic, partition, key, value, headers in records:
            fields = {"key": key, "value": value, "timestamp": None, "headers": list(headers)}
            place = topic, partition
            if place not in open_batches or open_batches[place].append(**fields) is None:
                # The first record of a batch always fits.
                open_batches[place] = self._producer.create_batch()
                open_batches[place].append(**fields)
                batches.append((place, open_batches[place]))
        for _, batch in batches:
            batch.close()
        return batches

    def _new(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            transactional_id=f"{self._topic}.replay",
            transaction_timeout_ms=int(TRANSACTION_S * 1000),
            acks="all",
            max_batch_size=_BATCH_BYTES,
            compression_type="lz4",
            **self._cluster.connection(),
        )

    async def _renew(self) -> None:
        await self._close()
        self._producer = self._new()
        await self._start()

    async def _start(self) -> None:
        try:
            await asyncio.wait_for(self._producer.start(), _START_S)
        except TransactionalIdAuthorizationFailed as error:
            await self._close()
            raise ClusterError(
                f"Kafka at {self._cluster.kafka} does not allow the transactional id {self._topic}.replay: "
                "grant this user Describe and Write on it"
            ) from error
        except TimeoutError as error:
            await self._close()
            raise ClusterError(
                f"Kafka at {self._cluster.kafka} begins no transaction within {_START_S:.0f} s: are there enough brokers "
                "for its transaction.state.log.replication.factor?"
            ) from error
        except BaseException:
            await self._close()
            raise

    async def _abort(self) -> None:
        """Aborts the transaction, so that readers need not wait for its timeout. Does nothing when Kafka is away or another
        replay has taken over.
        """
        transactions = self._producer._txn_manager
        if transactions.is_fatal_error():
            transactions.wait_for_transaction_end().exception()  # or asyncio complains that nobody looked at it
            return
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(self._producer.abort_transaction(), _CLOSE_S)

    async def _close(self) -> None:
        waiting = self._producer._message_accumulator
        for batch in [*waiting._pending_batches, *(batch for queue in waiting._batches.values() for batch in queue)]:
            _looked_at(batch.future)
            _looked_at(batch._drain_waiter)
        try:
            await asyncio.wait_for(self._producer.stop(), _CLOSE_S)
        except (KafkaError, TimeoutError):
            await self._producer.client.close()


async def parcels(records: AsyncIterator[ConsumerRecord], most: int) -> AsyncGenerator[list[ConsumerRecord], None]:
    """Records that are sent together: at most so many, and not more than 2 MiB unless one alone is larger."""
    parcel: list[ConsumerRecord] = []
    held = 0
    async for record in records:
        size = record_bytes(record)
        if parcel and (len(parcel) >= most or held + size > _PARCEL_BYTES):
            yield parcel
            parcel, held = [], 0
        parcel.append(record)
        held += size
    if parcel:
        yield parcel


def _looked_at(delivery: asyncio.Future[Any]) -> None:
    """Asyncio complains of an error that nobody looked at; the first one is what is raised."""
    if delivery.done() and not delivery.cancelled():
        delivery.exception()
