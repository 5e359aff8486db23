"""A subscription: one connection's view of one conversation. It makes events of records, in bounded memory. No I/O.

Its reader gets turns, replies, persons' messages and deltas in the order of each topic, none twice, and no words of a turn
that is over. A slow reader may lose deltas: the final reply has all of their words.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from heapq import merge

from cachetools import FIFOCache

from forebay.schemas import DecodeError, decode_person_message

from .cursor import Cursor
from .event import ConversationEvent
from .place import Place
from .record import ConversationRecord, Stream, fields_of

SLOW_BYTES = 64 * 1024
"""Bytes of waiting events after which a reader's deltas are dropped."""
MOST_BYTES = 1024 * 1024
"""Bytes after which it is closed: the reader can come back with its last event id. A single reply may be larger."""
MOST_HELD_BYTES = 256 * 1024 * 1024
"""Bytes of all readers together after which every slow one is closed."""
_OVERHEAD_BYTES = 400
"""Size of an event's objects in CPython."""
_REMEMBERED = 64
"""Finished turns, and messages, that are remembered, so that their late and repeated records are dropped."""

_TURN = ("text", "confirm", "user_id", "sent_at")
"""Fields of a turn that all who may open the conversation are told."""


class HeldBytes:
    """Bytes of waiting events of all readers of a gateway."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Subscription:
    """The events of one conversation, for one reader. Use it in the loop that feeds it."""

    def __init__(
        self,
        conversation: bytes,
        cursor: Cursor,
        dropped: Callable[[], None] = lambda: None,
        held: HeldBytes | None = None,
    ) -> None:
        """Starts at ``cursor``; calls ``dropped`` for each delta that its reader was too slow for."""
        self.conversation = conversation
        self.cursor = cursor
        self.pending: dict[str, ConversationRecord] = {}
        """Requests without a reply, by turn id, in order."""
        self.overrun = False
        """Whether its reader was too slow, and has to reconnect."""
        self.closed = False
        """Whether the gateway stops."""
        self._dropped = dropped
        self._held = held or HeldBytes()
        self._events: deque[tuple[ConversationEvent, int]] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._over: FIFOCache[str, None] = FIFOCache(_REMEMBERED)
        self._messages: FIFOCache[str, None] = FIFOCache(_REMEMBERED)
        self._next: dict[str, int] = {}  # the sequence that each streamed turn goes on with; -1 when one was dropped
        self._begun: set[str] = set()
        self._places: dict[str, Place] = {}

    # -- what it is told -----------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Adds the event that says where it starts."""
        data = {"conversation_id": self.conversation.decode(errors="replace"), "event_id": str(self.cursor)}
        self._tell(ConversationEvent("open", data, self.cursor))

    def take(self, record: ConversationRecord) -> None:
        """Takes a record of the conversation: each once, in the order of its partition."""
        if record.stream is Stream.MESSAGES:
            self._message(record)
        elif record.turn_id is None:
            return
        elif record.stream is Stream.REPLIES:
            self._reply(record, record.turn_id)
        elif record.stream is Stream.DELTAS:
            self._delta(record, record.turn_id)
        else:
            self._request(record, record.turn_id)

    def catch_up(self, missed: Iterable[ConversationRecord]) -> None:
        """Takes the records since its cursor: deltas last, since the replies have the words of finished turns.

        The others by their time, each topic in its own order.
        """
        of = {stream: [record for record in missed if record.stream is stream] for stream in Stream}
        deltas = sorted(of.pop(Stream.DELTAS), key=lambda record: record.offset)
        in_order = [sorted(records, key=lambda record: record.offset) for records in of.values()]
        for record in [*merge(*in_order, key=lambda record: record.timestamp), *deltas]:
            self.take(record)

    def waits(self, request: ConversationRecord, *, tell: bool) -> None:
        """Notes a turn from before that has no reply yet; with ``tell`` it adds the event with its text."""
        assert request.turn_id is not None
        self.pending.setdefault(request.turn_id, request)
        if tell:
            self._turn(request, request.turn_id)

    def placed(self, turn_id: str, place: Place) -> None:
        """Adds an event with a turn's place in the queue, when that has changed."""
        if turn_id in self.pending and turn_id not in self._begun and self._places.get(turn_id) != place:
            self._places[turn_id] = place
            self._tell(ConversationEvent("queued", {"turn_id": turn_id, **place._asdict()}))

    def started(self, turn_id: str) -> None:
        """Adds an event, once, that a worker has begun with the turn."""
        if turn_id not in self._begun and turn_id not in self._over:
            self._begun.add(turn_id)
            self._tell(ConversationEvent("started", {"turn_id": turn_id}))

    def beat(self, heard: Cursor) -> None:
        """Adds a heartbeat. All records before ``heard`` were given to this subscription."""
        self.cursor = self.cursor.furthest(heard)
        self._tell(ConversationEvent("heartbeat", {}, self.cursor))

    def _request(self, record: ConversationRecord, turn_id: str) -> None:
        if record.offset < self.cursor.requests:
            return
        self.cursor = self.cursor._replace(requests=record.offset + 1)
        if turn_id in self._over or self.pending.get(turn_id, record).offset != record.offset:
            return  # sent again
        self.pending[turn_id] = record
        self._turn(record, turn_id)

    def _turn(self, record: ConversationRecord, turn_id: str) -> None:
        said = fields_of(record)
        told = {name: said[name] for name in _TURN if said.get(name) is not None}
        if told:
            self._tell(ConversationEvent("turn", {"turn_id": turn_id, **told}, self.cursor), len(record.value))

    def _message(self, record: ConversationRecord) -> None:
        if record.offset < self.cursor.messages:
            return
        self.cursor = self.cursor._replace(messages=record.offset + 1)
        try:
            message = decode_person_message(record.value)
        except DecodeError:
            return  # what is no message is not shown to anybody
        if message.message_id in self._messages:
            return
        self._messages[message.message_id] = None
        at = message.at or datetime.fromtimestamp(record.timestamp / 1000, UTC)
        told = message.model_copy(update={"at": at}).model_dump(mode="json", exclude={"conversation_id"})
        self._tell(ConversationEvent("message", told, self.cursor), len(record.value))

    def _reply(self, record: ConversationRecord, turn_id: str) -> None:
        if record.offset < self.cursor.replies:
            return
        self.cursor = self.cursor._replace(replies=record.offset + 1)
        if turn_id in self._over:
            return
        if not (reply := fields_of(record)):
            return
        self._over[turn_id] = None
        for known in (self.pending, self._next, self._places):
            known.pop(turn_id, None)
        self._begun.discard(turn_id)
        if reply.get("outcome") == "confirmation_required":
            asked = {"turn_id": turn_id, "action": reply.get("action"), "text": reply.get("text")}
            self._tell(ConversationEvent("confirmation_required", asked))
        self._tell(ConversationEvent("done", {"turn_id": turn_id, "reply": reply}, self.cursor), len(record.value))

    def _delta(self, record: ConversationRecord, turn_id: str) -> None:
        if record.offset < self.cursor.deltas:
            return
        self.cursor = self.cursor._replace(deltas=record.offset + 1)
        if turn_id in self._over:
            return
        delta = fields_of(record)
        sequence, begins = delta.get("sequence"), delta.get("restart") is True
        if not isinstance(sequence, int):
            return
        expected = self._next.get(turn_id, sequence)
        if sequence != 0 and not begins and sequence != expected:
            self._next[turn_id] = -1
            return
        self.started(turn_id)
        if self._bytes > SLOW_BYTES:
            self._next[turn_id] = -1
            self._dropped()
            return
        self._next[turn_id] = sequence + 1
        told = {"turn_id": turn_id, "sequence": sequence, "text": delta.get("text", ""), "restart": begins}
        self._tell(ConversationEvent("delta", told, self.cursor), len(record.value))

    # -- what its reader takes ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends it after the events that wait."""
        self.closed = True
        self._alert()

    async def events(self) -> list[ConversationEvent]:
        """The next events, about `SLOW_BYTES` at a time, so that the connection's buffers hold no more.

        Waits for the first one. Empty only at the end, when it is `overrun` or `closed`.
        """
        while not (self._events or self.overrun or self.closed):
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        taken: list[ConversationEvent] = []
        size = 0
        while self._events and (not taken or size + self._events[0][1] <= SLOW_BYTES):
            event, its = self._events.popleft()
            taken.append(event)
            size += its
        self._count(-size)
        return taken

    def forget(self) -> None:
        """Drops the waiting events: the reader is gone."""
        self._events.clear()
        self._count(-self._bytes)

    def _tell(self, event: ConversationEvent, size: int = 0) -> None:
        if self.overrun:
            return
        size += _OVERHEAD_BYTES
        self._events.append((event, size))
        self._count(size)
        most = SLOW_BYTES if self._held.bytes > MOST_HELD_BYTES else MOST_BYTES
        if self._bytes > most and len(self._events) > 1:
            self.overrun = True
            self.forget()
        self._alert()

    def _count(self, size: int) -> None:
        self._bytes += size
        self._held.bytes += size

    def _alert(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
