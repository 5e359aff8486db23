"""The hub: reads the topics once for all connections of a gateway, and tells handlers the state of a conversation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from forebay.gateway import metrics
from forebay.operations.fleet import Fleet
from forebay.operations.partition_backlog import PartitionBacklog
from forebay.schemas import Cluster

from .backfill import Backfill
from .cursor import Cursor
from .queue_monitor import QueueMonitor
from .record import ConversationRecord, Stream, fields_of
from .subscription import HeldBytes, Subscription
from .tail import Tail

BEAT_S = 15.0
"""Seconds between two heartbeats of a connection."""
_LAGS_S = 2.0
"""How far this gateway may be behind the one that gave an event id, before the topics count as made anew."""
_SLICES = 60
_LEAST_SERVICE_S = 0.005
"""Seconds of a worker for a turn that no model answers, such as one of the FAQ."""

_NOT_SERVED = ("expired", "cancelled", "merged")
"""Outcomes that say nothing about how long a turn takes its worker."""


class EntryPoint(NamedTuple):
    """Where a turn goes that is sent now."""

    partition: int
    """Of the requests."""
    cursor: Cursor
    """A reader that starts here misses nothing of it."""
    wait_s: float | None
    """How long it would wait; None while that is not known."""


class Hub:
    """Reads the topics, keeps the recent records, and feeds the subscriptions of all connections."""

    def __init__(self, cluster: Cluster, group: str, fleet: Fleet) -> None:
        self._tail = Tail(cluster, self._heard)
        self._monitor = QueueMonitor(cluster, group, self._tail, fleet, self._tell_places)
        self._queue = self._monitor.queue
        self._fleet = fleet
        self._backfill = Backfill(cluster)
        self._subscriptions: dict[bytes, list[Subscription]] = {}
        self.listeners: list[Callable[[ConversationRecord], None]] = []
        """Called with each record of all conversations, once. They must be quick and raise nothing."""
        self._beating: asyncio.Task[None] | None = None
        self._held = HeldBytes()
        self.closing = False
        """Whether the gateway leaves."""

    async def start(self) -> None:
        """Raises KafkaError, ClusterError."""
        await self._tail.start()
        await self._monitor.start()
        self._beating = asyncio.create_task(self._beat(), name="gateway.beat")

    async def stop(self) -> None:
        """Stops reading; whoever holds a connection closes it."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self._monitor.stop()
        await self._tail.stop()

    # -- connections ---------------------------------------------------------------------------------------------------

    async def subscribe(self, conversation: str, cursor: Cursor | None = None) -> Subscription:
        """A view of the conversation from the cursor on, or from now with what is under way. Raises ClusterError.

        Nothing is missed or told twice between what is read back and what comes: both meet in one step without a wait.
        """
        key = conversation.encode()
        missed: list[ConversationRecord] = []
        if cursor is not None:
            cursor = await self._reached(key, cursor)
            missed = await self._missed(key, cursor)
        waiting = self.unanswered(conversation)
        begins = cursor is None
        if cursor is None:
            missed = [record for record in self._tail.recent[Stream.DELTAS].of(key) if record.turn_id in waiting]
            now = self._tail.cursor(key)
            cursor = now._replace(deltas=min([now.deltas, *(record.offset for record in missed)]))
        subscription = Subscription(key, cursor, metrics.DELTAS_DROPPED.inc, self._held)
        subscription.opened()
        for record in waiting.values():
            subscription.waits(record, tell=begins)
        self._tell_place(subscription)
        subscription.catch_up(missed)
        self._subscriptions.setdefault(key, []).append(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Its reader is gone. Safe to call twice."""
        subscription.forget()
        own = self._subscriptions.get(subscription.conversation, [])
        if subscription in own:
            own.remove(subscription)
        if not own:
            self._subscriptions.pop(subscription.conversation, None)

    def forget(self, conversation: str) -> None:
        """Drops the recent records of a conversation. Kafka holds them until their time is over."""
        for recent in self._tail.recent.values():
            recent.forget(conversation.encode())

    def close(self) -> None:
        """Ends all connections in order: their clients go on at another gateway."""
        self.closing = True
        for subscription in self._all():
            subscription.close()

    # -- one conversation, one turn ------------------------------------------------------------------------------------

    def entry(self, conversation: str) -> EntryPoint:
        """Where a turn of this conversation would go now."""
        key = conversation.encode()
        partition = self._tail.partition(Stream.REQUESTS, key)
        return EntryPoint(partition, self._tail.cursor(key), self._queue.next_wait_s(partition, time.monotonic()))

    def requests(self, conversation: str) -> tuple[ConversationRecord, ...]:
        """The conversation's recent requests, oldest first."""
        return self._tail.recent[Stream.REQUESTS].of(conversation.encode())

    def reply(self, turn_id: str, conversation: str) -> ConversationRecord | None:
        """The reply of a turn; None while there is none, or when it is too old to be kept here."""
        return self._tail.recent[Stream.REPLIES].of_turn(turn_id, conversation.encode())

    def records(self, turn_id: str) -> Iterator[ConversationRecord]:
        """Recent replies, then requests, with this turn id: two conversations may have given it to a turn of theirs."""
        for stream in (Stream.REPLIES, Stream.REQUESTS):
            yield from self._tail.recent[stream].of_turns(turn_id)

    async def between(self, stream: Stream, conversation: str, since: float, until: float) -> list[ConversationRecord]:
        """What was written of a conversation in that time (seconds since the epoch). Raises ClusterError."""
        key = conversation.encode()
        partition = self._tail.partition(stream, key)
        return await self._backfill.between(stream, partition, (int(since * 1000), int(until * 1000)), key)

    def unanswered(self, conversation: str) -> dict[str, ConversationRecord]:
        """Requests of a conversation that were sent lately and have no reply yet, by turn id."""
        return {
            record.turn_id: record
            for record in self.requests(conversation)
            if record.turn_id is not None
            and self.reply(record.turn_id, conversation) is None
            and not self._queue.is_done(record.partition, record.offset)
        }

    def has_begun(self, request: ConversationRecord) -> bool:
        """Whether a worker has reported that it has begun with this request; workers report once a second."""
        return request.offset < self._begun().get(request.partition, 0)

    def place(self, request: ConversationRecord) -> dict[str, Any] | None:
        """Place of a request in the queue, as clients are told; None while it is not known."""
        place = self._queue.place(request.partition, request.offset, time.monotonic())
        return None if place is None else place._asdict()

    # -- all conversations ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Turns in the topic that are not done."""
        return self._queue.waiting

    @property
    def backlogs(self) -> Mapping[int, PartitionBacklog]:
        """Backlog of each partition of the requests that a worker has ever committed."""
        return self._queue.partitions

    @property
    def deltas_heard(self) -> int:
        """Deltas of all conversations since the start."""
        return self._tail.deltas_heard

    @property
    def deaf(self) -> bool:
        """Whether the topics are no longer read, because of a bug of ours."""
        return self._tail.deaf

    def longest_wait_s(self) -> float:
        """How long a new turn would wait, at most."""
        return self._queue.longest_wait_s(time.monotonic())

    def log_ends(self, stream: Stream) -> dict[int, int]:
        """The next offset of each partition of a topic, as far as it was read."""
        return {number: end for (of, number), end in self._tail.positions.items() if of is stream}

    def kafka_away_s(self) -> float | None:
        """For how long Kafka has not answered; None while it does."""
        since = self._monitor.kafka_away_since
        return None if since is None else time.monotonic() - since

    # -- what is heard -------------------------------------------------------------------------------------------------

    def _begun(self) -> dict[int, int]:
        """By partition, the offset below which every turn has begun."""
        return {
            partition.partition: partition.begun
            for state in self._fleet.active(time.time())
            for partition in state.partitions
        }

    def _heard(self, record: ConversationRecord) -> None:
        for listener in self.listeners:
            listener(record)
        if record.stream is Stream.REPLIES:
            self._learn(record)
        for subscription in self._subscriptions.get(record.conversation, ()):
            subscription.take(record)
            if record.stream is Stream.REQUESTS:
                self._tell_place(subscription)

    def _learn(self, record: ConversationRecord) -> None:
        """How long turns take their workers, for the estimates."""
        reply = fields_of(record)
        model_ms = reply.get("model_ms")
        if isinstance(model_ms, int | float) and reply.get("outcome") not in _NOT_SERVED:
            self._queue.seen(max(model_ms / 1000, _LEAST_SERVICE_S))

    async def _reached(self, key: bytes, cursor: Cursor) -> Cursor:
        """The cursor, once this gateway has heard as much; or now, when the topics were made anew."""
        give_up = time.monotonic() + _LAGS_S
        cursor = cursor.begun(self._tail.cursor(key))
        while cursor.is_ahead_of(now := self._tail.cursor(key)):
            if time.monotonic() > give_up:
                return now
            await asyncio.sleep(0.02)
        return cursor

    async def _missed(self, key: bytes, cursor: Cursor) -> list[ConversationRecord]:
        """What was written of the conversation since: from memory, or from Kafka where that does not reach back so far."""
        missed: list[ConversationRecord] = []
        offsets = {
            Stream.REPLIES: cursor.replies,
            Stream.DELTAS: cursor.deltas,
            Stream.MESSAGES: cursor.messages,
            Stream.REQUESTS: cursor.requests,
        }
        while True:
            # The last round waits for nothing: so what is kept here then is up to the same moment for all topics.
            kept = {stream: self._tail.since(stream, key, offset) for stream, offset in offsets.items()}
            if None not in kept.values():
                return missed + [record for records in kept.values() for record in records or ()]
            for stream in (stream for stream, records in kept.items() if records is None):
                partition = self._tail.partition(stream, key)
                end = self._tail.positions[stream, partition]
                missed += await self._backfill.read(stream, partition, range(offsets[stream], end), key)
                offsets[stream] = end

    def _tell_places(self) -> None:
        begun = self._begun()
        for subscription in self._all():
            for turn_id, request in list(subscription.pending.items()):
                if request.offset < begun.get(request.partition, 0):
                    subscription.started(turn_id)
            self._tell_place(subscription)

    def _tell_place(self, subscription: Subscription) -> None:
        now = time.monotonic()
        for turn_id, request in subscription.pending.items():
            if (place := self._queue.place(request.partition, request.offset, now)) is not None:
                subscription.placed(turn_id, place)

    async def _beat(self) -> None:
        """A heartbeat for each connection every `BEAT_S`, to a slice of them at a time."""
        slice_number = 0
        while True:
            await asyncio.sleep(BEAT_S / _SLICES)
            slice_number = (slice_number + 1) % _SLICES
            for subscription in self._all():
                if id(subscription) // 64 % _SLICES == slice_number:
                    subscription.beat(self._tail.cursor(subscription.conversation))

    def _all(self) -> Iterator[Subscription]:
        for own in self._subscriptions.values():
            yield from own

    def __len__(self) -> int:
        return sum(map(len, self._subscriptions.values()))
