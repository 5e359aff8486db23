"""Customers' words as columns of the SQLite store: as they are, or sealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from .exchange import Exchange, decode_exchange, decode_steps, encode_exchange, encode_steps
from .state import Conversation, State
from .store import Remembered, StoredReply
from .store_keys import StoreKeys

Row: TypeAlias = tuple[Any, ...]


class SQLiteWords:
    """Writes and reads them. A sealed value is a BLOB, also where a plain one is TEXT."""

    def __init__(self, keys: StoreKeys) -> None:
        self._keys = keys

    def exchange(self, conversation_id: str, turn_id: str | bytes, exchange: Exchange | None) -> Row:
        """Said, steps, answer, person. Sealed, all is in the answer, and the person only says that there is one."""
        if exchange is None:
            return None, None, None, None
        said, answer, steps, person = exchange
        if not self._keys:
            return said, encode_steps(steps), answer, person
        sealed = self._keys.seal(encode_exchange(exchange), conversation_id, *_of(turn_id))
        return None, None, sealed, None if person is None else ""

    def exchange_of(self, conversation_id: str, row: Row) -> Exchange:
        """Of turn, said, answer, steps, person. Raises StoreKeyError."""
        turn_id, said, answer, steps, person = row
        if isinstance(answer, bytes):
            return decode_exchange(self._keys.open(answer, conversation_id, *_of(turn_id)))
        return Exchange(said, answer, decode_steps(steps), person)

    def exchanges_of(self, conversation_id: str, rows: Sequence[Row]) -> tuple[Exchange, ...]:
        """The same of many: every turn has them, so what is not sealed takes no call. Raises StoreKeyError."""
        return tuple(
            [
                self.exchange_of(conversation_id, row)
                if row[3] or isinstance(row[2], bytes)
                else Exchange(row[1], row[2], (), row[4])
                for row in rows
            ]
        )

    def remembered(self, conversation_id: str, row: Row) -> Remembered:
        """Of position, time, then as for `exchange_of`."""
        _, at, turn_id, *_ = row
        shown = turn_id.decode() if isinstance(turn_id, bytes) else turn_id
        return Remembered(shown, float(at), self.exchange_of(conversation_id, row[2:]))

    def reply(self, conversation_id: str, turn_id: str, reply: StoredReply) -> StoredReply:
        """As it is written."""
        if not self._keys:
            return reply
        return reply._replace(value=self._keys.seal(reply.value, conversation_id, turn_id, "reply"))

    def reply_of(self, conversation_id: str, turn_id: str, reply: StoredReply) -> StoredReply:
        """What `reply` was given. Raises StoreKeyError."""
        return reply._replace(value=self._keys.open(reply.value, conversation_id, turn_id, "reply"))

    def text(self, conversation_id: str, column: str, text: str | None) -> str | bytes | None:
        """A text of the conversation's own: its summary, or why it was handed off."""
        if not self._keys or not text:
            return text
        return self._keys.seal(text.encode(), conversation_id, "", column)

    def state(self, conversation_id: str, state: State | None) -> bytes | None:
        """The conversation's state; None for none."""
        return None if state is None else self._keys.seal(state.encode(), conversation_id, "", "state")

    def state_of(self, conversation_id: str, value: bytes | None) -> State:
        """What `state` was given. Raises StoreKeyError."""
        return State.decode(value and self._keys.open(value, conversation_id, "", "state"))

    def conversation_of(self, conversation_id: str, row: Row | None) -> Conversation:
        """Of `sqlite_history.conversation`. Raises StoreKeyError."""
        if row is None:
            return Conversation()
        exchanges, state, summary, summarised, handed_off, summary_usd, _ = row
        return Conversation(
            exchanges,
            self.state_of(conversation_id, state),
            self._text_of(conversation_id, "summary", summary) or "",
            summarised,
            self._text_of(conversation_id, "handed_off", handed_off),
            summary_usd,
        )

    def _text_of(self, conversation_id: str, column: str, value: str | bytes | None) -> str | None:
        if not isinstance(value, bytes):
            return value
        return self._keys.open(value, conversation_id, "", column).decode()


def _of(turn_id: str | bytes) -> tuple[str, str]:
    """Turn and column: a person's message may have the id of a turn."""
    return (turn_id.decode(), "message") if isinstance(turn_id, bytes) else (turn_id, "exchange")
