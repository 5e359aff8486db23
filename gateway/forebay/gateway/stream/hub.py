"""The hub: hands each record to the connections of its conversation, and begins new ones where they left off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from forebay.gateway import metrics
from forebay.operations.fleet import Fleet
from forebay.schemas import Cluster

from .backfill import History
from .cursor import Cursor
from .queue_monitor import QueueMonitor
from .record import Record, Stream, fields_of
from .subscription import Held, Subscription
from .tail import Tail

BEAT_S = 15.0
"""Between two signs of life of a connection, in seconds."""
_LAGS_S = 2.0
"""How far this gateway may be behind the one that gave an event id, before the topics count as made anew."""
_SLICES = 60
_LEAST_SERVICE_S = 0.005
"""What a turn costs its worker that no model answers, such as one of the FAQ."""


class Hub:
    """All connections of this gateway."""

    def __init__(self, cluster: Cluster, group: str, fleet: Fleet) -> None:
        self.tail = Tail(cluster, self._heard)
        self.backlog = QueueMonitor(cluster, group, self.tail, fleet, self._tell_places)
        self._fleet = fleet
        self._history = History(cluster)
        self._subscriptions: dict[bytes, list[Subscription]] = {}
        self.listeners: list[Callable[[Record], None]] = []
        """Told of each record of all conversations, once. They must be quick and raise nothing."""
        self._beating: asyncio.Task[None] | None = None
        self._held = Held()

    async def start(self) -> None:
        """Raises KafkaError, ClusterError."""
        await self.tail.start()
        await self.backlog.start()
        self._beating = asyncio.create_task(self._beat(), name="gateway.beat")

    async def stop(self) -> None:
        """Stops feeding; connections are closed by those who hold them."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self.backlog.stop()
        await self.tail.stop()

    async def subscribe(self, conversation: str, cursor: Cursor | None = None) -> Subscription:
        """A view of the conversation from the cursor on, or from now with what is under way. Raises ClusterError.

        Nothing is missed or told twice between what is read back and what comes: both meet in one step without a wait.
        """
        key = conversation.encode()
        missed: list[Record] = []
        if cursor is not None:
            reached = await self._reached(key, cursor)
            cursor, missed = (reached, []) if reached is not cursor else (cursor, await self._missed(key, cursor))
        waiting = self.unanswered(key)
        if cursor is None:
            missed = [record for record in self.tail.recent[Stream.DELTAS].of(key) if record.turn_id in waiting]
            now = self.tail.cursor(key)
            cursor = Cursor(now.replies, min([now.deltas, *(record.offset for record in missed)]))
        subscription = Subscription(key, cursor, metrics.DELTAS_DROPPED.inc, self._held)
        subscription.opened()
        subscription.pending.update(waiting)
        self._tell_place(subscription)
        subscription.catch_up(missed)
        self._subscriptions.setdefault(key, []).append(subscription)
        return subscription

    def close(self) -> None:
        """Ends all connections in order: their clients go on at another gateway."""
        for subscription in self._all():
            subscription.close()

    def leave(self, subscription: Subscription) -> None:
        """Its reader is gone. Safe to call twice."""
        subscription.forget()
        own = self._subscriptions.get(subscription.conversation, [])
        if subscription in own:
            own.remove(subscription)
        if not own:
            self._subscriptions.pop(subscription.conversation, None)

    async def between(self, stream: Stream, conversation: str, since: float, until: float) -> list[Record]:
        """What was written of a conversation in that time (seconds since the epoch). Raises ClusterError."""
        key = conversation.encode()
        partition = self.tail.partition(stream, key)
        return await self._history.between(stream, partition, (int(since * 1000), int(until * 1000)), key)

    def unanswered(self, conversation: bytes) -> dict[str, Record]:
        """The turns of a conversation that were sent lately and have no reply yet."""
        replies, queue = self.tail.recent[Stream.REPLIES], self.backlog.queue
        return {
            record.turn_id: record
            for record in self.tail.recent[Stream.REQUESTS].of(conversation)
            if record.turn_id is not None
            and replies.of_turn(record.turn_id, conversation) is None
            and not queue.is_done(record.partition, record.offset)
        }

    def has_begun(self, request: Record) -> bool:
        """Whether a worker says that it has begun with it; it says so once a second."""
        return request.offset < self._begun().get(request.partition, 0)

    def _begun(self) -> dict[int, int]:
        """By partition, the offset below which every turn has begun."""
        return {
            partition.partition: partition.begun
            for state in self._fleet.active(time.time())
            for partition in state.partitions
        }

    def _heard(self, record: Record) -> None:
        for listener in self.listeners:
            listener(record)
        if record.stream is Stream.REPLIES:
            self._learn(record)
        for subscription in self._subscriptions.get(record.conversation, ()):
            subscription.take(record)
            if record.stream is Stream.REQUESTS:
                self._tell_place(subscription)

    def _learn(self, record: Record) -> None:
        """How long turns take their workers, for the estimates."""
        reply = fields_of(record)
        model_ms = reply.get("model_ms")
        if isinstance(model_ms, int | float) and reply.get("outcome") != "expired":
            self.backlog.queue.seen(max(model_ms / 1000, _LEAST_SERVICE_S))

    async def _reached(self, key: bytes, cursor: Cursor) -> Cursor:
        """The cursor, once this gateway has heard as much; or now, when the topics were made anew."""
        give_up = time.monotonic() + _LAGS_S
        while (now := self.tail.cursor(key)).replies < cursor.replies or now.deltas < cursor.deltas:
            if time.monotonic() > give_up:
                return now
            await asyncio.sleep(0.02)
        return cursor

    async def _missed(self, key: bytes, cursor: Cursor) -> list[Record]:
        """What was written of the conversation since: from memory, or from Kafka where that does not reach back so far."""
        missed: list[Record] = []
        offsets = {Stream.REPLIES: cursor.replies, Stream.DELTAS: cursor.deltas}
        while True:
            # The last round waits for nothing: so what is kept here then is up to the same moment for both topics.
            kept = {stream: self.tail.since(stream, key, offset) for stream, offset in offsets.items()}
            if None not in kept.values():
                return missed + [record for records in kept.values() for record in records or ()]
            for stream in (stream for stream, records in kept.items() if records is None):
                partition = self.tail.partition(stream, key)
                end = self.tail.positions[stream, partition]
                missed += await self._history.read(stream, partition, range(offsets[stream], end), key)
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
            if (place := self.backlog.queue.place(request.partition, request.offset, now)) is not None:
                subscription.placed(turn_id, place)

    async def _beat(self) -> None:
        """A sign of life for each connection every `BEAT_S`, a slice of them at a time."""
        slice_number = 0
        while True:
            await asyncio.sleep(BEAT_S / _SLICES)
            slice_number = (slice_number + 1) % _SLICES
            for subscription in self._all():
                if id(subscription) // 64 % _SLICES == slice_number:
                    subscription.beat(self.tail.cursor(subscription.conversation))

    def _all(self) -> Iterator[Subscription]:
        for own in self._subscriptions.values():
            yield from own

    def __len__(self) -> int:
        return sum(map(len, self._subscriptions.values()))
