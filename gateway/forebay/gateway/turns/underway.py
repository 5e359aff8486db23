"""A turn that Kafka has, for the APIs that answer a turn in one response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forebay.gateway.http.submission import Accepted
from forebay.gateway.stream.cursor import Cursor
from forebay.gateway.stream.record import ConversationRecord

GRACE_S = 30.0
"""What a turn that begins just before its deadline may take for its answer, in seconds."""
_FINISHED = {"max_tokens": "length", "length": "length"}


@dataclass(frozen=True, slots=True)
class Underway:
    """Which turn it is, and until when its reply is waited for."""

    conversation_id: str
    turn_id: str
    until: float
    """When waiting for its reply ends, in seconds since the epoch."""
    cursor: Cursor | None = None
    """A reader that starts here misses nothing of it; None if it was accepted elsewhere."""

    @classmethod
    def of(cls, accepted: Accepted, ttl_s: float) -> Underway:
        """A turn that was accepted here."""
        turn = accepted.turn
        assert turn.sent_at is not None
        deadline = turn.expires_at.timestamp() if turn.expires_at is not None else turn.sent_at.timestamp() + ttl_s
        return cls(turn.conversation_id, turn.turn_id, deadline + GRACE_S, accepted.cursor)

    @classmethod
    def found(cls, request: ConversationRecord, conversation: str, ttl_s: float) -> Underway:
        """A turn whose request was found on the topic."""
        assert request.turn_id is not None
        return cls(conversation, request.turn_id, request.timestamp / 1000 + ttl_s + GRACE_S)

    def extension(self, reply: dict[str, Any] | None) -> dict[str, Any]:
        """Facts about the turn and its answer for which these APIs have no field; the answer may be a later turn's."""
        told = {"turn_id": self.turn_id, "conversation_id": self.conversation_id}
        if reply is None:
            return told
        merged = {"merged_into": reply["turn_id"]} if reply.get("turn_id", self.turn_id) != self.turn_id else {}
        return told | {name: reply.get(name) for name in ("outcome", "route", "action")} | merged


def finish_reason(reply: dict[str, Any]) -> str:
    """`length` if the model was cut off, else `stop`."""
    return _FINISHED.get(reply.get("finish_reason") or "", "stop")
