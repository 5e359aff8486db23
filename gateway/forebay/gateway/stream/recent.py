"""The recent records of one topic, bounded in bytes: what most readers that reconnect have missed. Pure.

One buffer for all conversations: the oldest record of the topic is dropped first.
"""

from __future__ import annotations

from collections import deque

from .record import ConversationRecord

_OVERHEAD_BYTES = 500
"""Size of the objects around one record in CPython."""


class Recent:
    """Records in the order they were read, found by conversation and by turn."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._order: deque[ConversationRecord] = deque()
        self._conversations: dict[bytes, deque[ConversationRecord]] = {}
        self._turns: dict[str, dict[bytes, ConversationRecord]] = {}
        self._complete_from: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._order)

    def begin(self, partition: int, offset: int) -> None:
        """The partition is read from this offset on; records before it may be missing."""
        self._complete_from[partition] = offset

    def add(self, record: ConversationRecord) -> None:
        """Keeps the record, and drops the oldest ones that no longer fit."""
        self._order.append(record)
        self._conversations.setdefault(record.conversation, deque()).append(record)
        if record.turn_id is not None:
            self._turns.setdefault(record.turn_id, {})[record.conversation] = record
        self._bytes += _size(record)
        while self._bytes > self._most_bytes:
            self._drop_oldest()

    def since(self, conversation: bytes, partition: int, offset: int) -> list[ConversationRecord] | None:
        """The conversation's records from ``offset`` of its partition on; None when some may be missing here."""
        if offset < self._complete_from.get(partition, 1 << 62):
            return None
        kept = self._conversations.get(conversation, ())
        return [record for record in kept if record.offset >= offset and record.partition == partition]

    def of(self, conversation: bytes) -> tuple[ConversationRecord, ...]:
        """The kept records of a conversation, oldest first."""
        return tuple(self._conversations.get(conversation, ()))

    def of_turn(self, turn_id: str, conversation: bytes) -> ConversationRecord | None:
        """The latest kept record of a turn."""
        return self._turns.get(turn_id, {}).get(conversation)

    def of_turns(self, turn_id: str) -> tuple[ConversationRecord, ...]:
        """The same when the conversation is not known: two conversations may use the same turn id."""
        return tuple(self._turns.get(turn_id, {}).values())

    def forget(self, conversation: bytes) -> None:
        """Drops all records of a conversation, which are no longer to be shown."""
        own = self._conversations.pop(conversation, None)
        if own is None:
            return
        self._order = deque(record for record in self._order if record.conversation != conversation)
        self._bytes -= sum(map(_size, own))
        for turn_id in {record.turn_id for record in own if record.turn_id is not None}:
            self._turns[turn_id].pop(conversation, None)
            if not self._turns[turn_id]:
                del self._turns[turn_id]

    def _drop_oldest(self) -> None:
        record = self._order.popleft()
        self._bytes -= _size(record)
        own = self._conversations[record.conversation]
        own.popleft()
        if not own:
            del self._conversations[record.conversation]
        if record.turn_id is not None and self.of_turn(record.turn_id, record.conversation) is record:
            del self._turns[record.turn_id][record.conversation]
            if not self._turns[record.turn_id]:
                del self._turns[record.turn_id]
        self._complete_from[record.partition] = max(record.offset + 1, self._complete_from.get(record.partition, 0))


def _size(record: ConversationRecord) -> int:
    return len(record.value) + len(record.conversation) + _OVERHEAD_BYTES
