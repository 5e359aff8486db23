"""An event: one thing that a reader of a conversation is told. Framed for Server-Sent Events, or as a WebSocket message."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import orjson

from .cursor import Cursor

Name = Literal["open", "queued", "started", "delta", "confirmation_required", "done", "heartbeat"]


class Event(NamedTuple):
    """What happened, and how far its reader has come with it."""

    name: Name
    data: dict[str, Any]
    cursor: Cursor | None = None
    """None for what is true now and is not repeated, such as a place in the queue."""

    def sse(self) -> bytes:
        """As the event stream of the HTML standard has it; a heartbeat is a comment that still moves the last event id."""
        identity = f"id: {self.cursor}\n" if self.cursor is not None else ""
        if self.name == "heartbeat":
            return f": {self.name}\n{identity}\n".encode()
        return f"event: {self.name}\n{identity}data: ".encode() + orjson.dumps(self.data) + b"\n\n"

    def message(self) -> bytes:
        """As JSON, with the name as its `type`."""
        identity = {} if self.cursor is None else {"id": str(self.cursor)}
        return orjson.dumps({"type": self.name, **identity, **self.data})
