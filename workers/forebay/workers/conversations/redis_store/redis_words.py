"""Customers' words as values in Redis: as they are, or sealed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, cast, get_args

import orjson

from forebay.schemas import Outcome
from forebay.workers.conversations.exchange import (
    Exchange,
    decode_exchange,
    decode_steps,
    encode_exchange,
    encode_steps,
)
from forebay.workers.conversations.hot_histories import HeldHistory
from forebay.workers.conversations.state import Conversation, State
from forebay.workers.conversations.store import Remembered, StoredReply
from forebay.workers.conversations.store_keys import StoreKeys

_OUTCOMES = {name.encode(): cast(Outcome, name) for name in get_args(Outcome)}


class RedisWords:
    """Writes and reads them."""

    def __init__(self, keys: StoreKeys, me: bytes) -> None:
        """``me`` is a name that no other store has."""
        self._keys, self._me = keys, me

    def turn(self, conversation_id: str, turn_id: str, reply: StoredReply) -> bytes:
        """A reply with who stores it. The part before the line feed is the same whenever this store says the same."""
        sealed = self._keys.seal(reply.value, conversation_id, turn_id, "reply")
        return b"%b.%x %b\n%b" % (self._me, hash(reply) & 0xFFFF_FFFF_FFFF_FFFF, reply.outcome.encode(), sealed)

    def reply(self, conversation_id: str, turn_id: str, turn: bytes) -> StoredReply:
        """What `turn` was given. Raises StoreKeyError."""
        head, _, value = turn.partition(b"\n")
        return StoredReply(_OUTCOMES[head.split(b" ")[1]], self._keys.open(value, conversation_id, turn_id, "reply"))

    def exchange(
        self, conversation_id: str, turn_id: str, at: float, exchange: Exchange, column: str = "exchange"
    ) -> bytes:
        """As JSON, for the list of its conversation."""
        if not self._keys:
            said, answer, steps, person = exchange
            return orjson.dumps([said, answer, encode_steps(steps), person, turn_id, at])
        sealed = self._keys.seal(encode_exchange(exchange), conversation_id, turn_id, column)
        text = base64.b64encode(sealed).decode()
        return orjson.dumps({"sealed": text, "turn_id": turn_id, "at": at, "column": column})

    def held(self, conversation_id: str, version: bytes, depth: int, history: bytes) -> HeldHistory:
        """``history`` is the JSON array of what `exchange` wrote. Raises StoreKeyError."""
        exchanges = tuple([self._remembered(conversation_id, row).exchange for row in orjson.loads(history)])
        return HeldHistory(version, depth, exchanges, tuple(map(_size, exchanges)))

    def page(self, conversation_id: str, history: bytes) -> tuple[Remembered, ...]:
        """The same with turns' ids and times."""
        return tuple([self._remembered(conversation_id, row) for row in orjson.loads(history)])

    def state(self, conversation_id: str, state: State) -> bytes:
        """The conversation's state."""
        return self._keys.seal(state.encode(), conversation_id, "", "state")

    def state_of(self, conversation_id: str, value: bytes | None) -> State:
        """What `state` was given. Raises StoreKeyError."""
        return State.decode(value and self._keys.open(value, conversation_id, "", "state"))

    def text(self, conversation_id: str, column: str, text: str) -> bytes:
        """A text of the conversation's own: its summary, or why it was handed off."""
        return self._keys.seal(text.encode(), conversation_id, "", column)

    def conversation(self, conversation_id: str, fields: Sequence[bytes | None]) -> Conversation:
        """Of exchanges, state, summary, exchanges summarised, hand-off, USD of the summaries. Raises StoreKeyError."""
        exchanges, state, summary, summarised, handed_off, summary_usd = fields
        return Conversation(
            int(exchanges or 0),
            self.state_of(conversation_id, state),
            self._keys.open(summary or b"", conversation_id, "", "summary").decode(),
            int(summarised or 0),
            None if handed_off is None else self._keys.open(handed_off, conversation_id, "", "handed_off").decode(),
            float(summary_usd or 0),
        )

    def _remembered(self, conversation_id: str, row: Any) -> Remembered:
        """The first version wrote the first three values only."""
        if isinstance(row, dict):
            turn_id, sealed = row["turn_id"], base64.b64decode(row["sealed"])
            value = self._keys.open(sealed, conversation_id, turn_id, row["column"])
            return Remembered(turn_id, row["at"], decode_exchange(value))
        said, answer, steps, person, turn_id, at = row if len(row) == 6 else (*row, None, None, None)
        return Remembered(turn_id, at, Exchange(said, answer, decode_steps(steps), person))


def _size(exchange: Exchange) -> int:
    """Characters: near enough to bytes, without encoding them again."""
    size = len(exchange.said) + len(exchange.answer)
    for message in exchange.steps:
        size += len(message.text) + sum(len(call.arguments) for call in message.calls)
        size += sum(len(result.text) for result in message.results)
    return size
