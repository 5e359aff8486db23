"""A subscription: one connection's view of one conversation. It turns records into events, and is bounded. No I/O.

What it owes its reader: replies and deltas in the order of the topic, none twice, and no words of a turn that is over.
What it does not owe a reader that is slow: deltas. The final reply has all of their words.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from .cursor import Cursor
from .event import Event
from .place import Place
from .record import Record, Stream, fields_of

SLOW_BYTES = 64 * 1024
"""Of events that wait for a reader, after which its deltas are dropped."""
MOST_BYTES = 1024 * 1024
"""After which it is closed: it can come back with its last event id. One reply may be as large and is told all the same."""
MOST_HELD_BYTES = 256 * 1024 * 1024
"""Of all readers together, after which every slow one is closed."""
_OVERHEAD_BYTES = 400
"""Of an event, as CPython counts its objects."""
_REMEMBERED = 64
"""Turns that are over and whose late records are dropped."""


class Held:
    """What waits for all readers of a gateway."""

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
        held: Held | None = None,
    ) -> None:
        """Begins at ``cursor``; ``dropped`` is told of each delta that its reader was too slow for."""
        self.conversation = conversation
        self.cursor = cursor
        self.pending: dict[str, Record] = {}
        """Turns that have no reply yet, with their requests, in order."""
        self.overrun = False
        """It has read nothing for so long that it must come back another time."""
        self.closed = False
        """The gateway is leaving."""
        self._dropped = dropped
        self._held = held or Held()
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._over: OrderedDict[str, None] = OrderedDict()
        self._next: dict[str, int] = {}  # the sequence that each streamed turn goes on with; -1 when one was dropped
        self._begun: set[str] = set()
        self._places: dict[str, Place] = {}

    # -- what it is told -----------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Tells the reader where it begins."""
        data = {"conversation_id": self.conversation.decode(errors="replace"), "event_id": str(self.cursor)}
        self._tell(Event("open", data, self.cursor))

    def take(self, record: Record) -> None:
        """A record of the conversation: each once, in the order of its partition."""
        if record.turn_id is None:
            return
        if record.stream is Stream.REPLIES:
            self._reply(record, record.turn_id)
        elif record.stream is Stream.DELTAS:
            self._delta(record, record.turn_id)
        elif record.turn_id not in self._over:
            self.pending.setdefault(record.turn_id, record)

    def catch_up(self, missed: Iterable[Record]) -> None:
        """What was written since its cursor: replies first, since the words of turns that are over lie in them."""
        for record in sorted(missed, key=lambda record: (record.stream is Stream.DELTAS, record.offset)):
            self.take(record)

    def placed(self, turn_id: str, place: Place) -> None:
        """Where a waiting turn is in the queue; told when it has changed."""
        if turn_id in self.pending and turn_id not in self._begun and self._places.get(turn_id) != place:
            self._places[turn_id] = place
            self._tell(Event("queued", {"turn_id": turn_id, **place._asdict()}))

    def started(self, turn_id: str) -> None:
        """A worker has begun with it; told once."""
        if turn_id not in self._begun and turn_id not in self._over:
            self._begun.add(turn_id)
            self._tell(Event("started", {"turn_id": turn_id}))

    def beat(self, heard: Cursor) -> None:
        """A sign of life. ``heard`` is how far all that was written was passed on to this reader."""
        self.cursor = Cursor(max(self.cursor.replies, heard.replies), max(self.cursor.deltas, heard.deltas))
        self._tell(Event("heartbeat", {}, self.cursor))

    def _reply(self, record: Record, turn_id: str) -> None:
        if record.offset < self.cursor.replies:
            return
        self.cursor = self.cursor._replace(replies=record.offset + 1)
        if turn_id in self._over:
            return
        if not (reply := fields_of(record)):
            return
        self._over[turn_id] = None
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)
        for known in (self.pending, self._next, self._places):
            known.pop(turn_id, None)
        self._begun.discard(turn_id)
        if reply.get("outcome") == "confirmation_required":
            asked = {"turn_id": turn_id, "action": reply.get("action"), "text": reply.get("text")}
            self._tell(Event("confirmation_required", asked))
        self._tell(Event("done", {"turn_id": turn_id, "reply": reply}, self.cursor), len(record.value))

    def _delta(self, record: Record, turn_id: str) -> None:
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
        self._tell(Event("delta", told, self.cursor), len(record.value))

    # -- what its reader takes ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends it once its reader has what waits."""
        self.closed = True
        self._alert()

    async def events(self) -> list[Event]:
        """What waits for the reader, about `SLOW_BYTES` of it at a time, so that no more lies in the connection's buffers.

        Waits for the first. Empty only at the end: when it is `overrun` or `closed`.
        """
        while not (self._events or self.overrun or self.closed):
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        taken: list[Event] = []
        size = 0
        while self._events and (not taken or size + self._events[0][1] <= SLOW_BYTES):
            event, its = self._events.popleft()
            taken.append(event)
            size += its
        self._count(-size)
        return taken

    def forget(self) -> None:
        """Its reader is gone: nothing waits for it any more."""
        self._events.clear()
        self._count(-self._bytes)

    def _tell(self, event: Event, size: int = 0) -> None:
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
