"""An event of a conversation, written for Server-Sent Events or as a WebSocket message."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import orjson

from .cursor import Cursor

Name = Literal["open", "turn", "queued", "started", "delta", "confirmation_required", "done", "message", "heartbeat"]


class ConversationEvent(NamedTuple):
    """What happened, and how far a reader is that has it."""

    name: Name
    data: dict[str, Any]
    cursor: Cursor | None = None
    """None for an event that is not repeated after a reconnect, such as a place in the queue."""

    def sse(self) -> bytes:
        """In the event stream format of the HTML standard; a heartbeat is a comment that moves the last event id."""
        identity = f"id: {self.cursor}\n" if self.cursor is not None else ""
        if self.name == "heartbeat":
            return f": {self.name}\n{identity}\n".encode()
        return f"event: {self.name}\n{identity}data: ".encode() + orjson.dumps(self.data) + b"\n\n"

    def message(self) -> bytes:
        """As JSON, with the name in `type`."""
        identity = {} if self.cursor is None else {"id": str(self.cursor)}
        return orjson.dumps({"type": self.name, **identity, **self.data})
