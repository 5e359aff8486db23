"""An event stream without an end: it opens at once, and others write to it until the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .http_message import LAST_CHUNK, HttpRequest, chunk, stream_head
from .response_plan import Ending, ResponsePlan


@dataclass(slots=True, eq=False)
class EndlessStream(ResponsePlan):
    """The plan of such a stream. The connection calls `join` when its head is written, and `leave` when it is gone."""

    request: HttpRequest | None = None
    on_join: Callable[[EndlessStream], None] | None = None
    on_leave: Callable[[EndlessStream], None] | None = None
    previews: bool = False
    """Whether the client wants to see messages while they are written."""
    transport: asyncio.Transport | None = None

    @classmethod
    def open(cls, request: HttpRequest, headers: bytes, on_join: Callable[[EndlessStream], None]) -> EndlessStream:
        """The stream that answers a request."""
        return cls([(0.0, stream_head(request, headers))], Ending.HANG, request=request, on_join=on_join)

    def join(self, transport: asyncio.Transport) -> None:
        """The client listens."""
        self.transport = transport
        if self.on_join is not None:
            self.on_join(self)

    def leave(self) -> None:
        """The client has gone."""
        self.transport = None
        if self.on_leave is not None:
            self.on_leave(self)

    def write(self, data: bytes) -> None:
        """Whole events, or what looks like it."""
        if self.transport is not None and self.request is not None:
            self.transport.write(chunk(self.request, data))

    def end(self) -> None:
        """The stream ends as HTTP wants it, and so does its connection."""
        if self.transport is not None and self.request is not None:
            if self.request.http_1_1:
                self.transport.write(LAST_CHUNK)
            self.transport.close()

    def cut(self) -> None:
        """TCP closes in the middle of it."""
        if self.transport is not None:
            self.transport.close()
