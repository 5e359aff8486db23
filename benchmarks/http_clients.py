"""Clients of the gateway that do as little as can be, so that what is measured is the gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import orjson


class Listener(asyncio.Protocol):
    """One client that listens to a conversation: as little as can tell when a reply arrived."""

    def __init__(self, request: bytes, arrived: Callable[[bytes, float], None]) -> None:
        self._request, self._arrived = request, arrived
        self._rest = b""
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the events."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Finds replies in what comes."""
        if b"\x89\x00" in data:
            self.transport.write(b"\x8a\x80\x00\x00\x00\x00")  # a ping is answered, or the gateway takes us for dead
        if not self.opened.done() and (b"event: open" in data or b'"type":"open"' in data):
            self.opened.set_result(None)
        if b"created_at" in data or self._rest:
            whole = self._rest + data
            at = whole.find(b'"created_at":"')
            if at >= 0 and len(whole) > at + 60:
                self._rest = b""
                self._arrived(whole[at + 14 : at + 41], time.time())
            else:
                self._rest = whole[-512:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts as a failure while it opens."""
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before it was open"))


class Poster(asyncio.Protocol):
    """One keep-alive client that sends the next turn when the last was answered."""

    def __init__(self, path: str, deadline: float, taken: Callable[[float], None]) -> None:
        self._path, self._deadline, self._taken = path, deadline, taken
        self._number, self._sent_at = 0, 0.0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """One answer is one packet here: they are small and one at a time."""
        if data.startswith((b"HTTP/1.1 202", b"HTTP/1.1 200")):
            self._taken(time.monotonic() - self._sent_at)
        elif data.startswith(b"HTTP/1.1"):
            self.ended.set_exception(AssertionError(data.decode(errors="replace")))
            return
        else:
            return
        if time.monotonic() < self._deadline:
            self._next()
        else:
            self._transport.close()
            self.ended.set_result(None)

    def _next(self) -> None:
        self._number += 1
        body = orjson.dumps({"text": "Is SKU001 in stock?", "attributes": {"page": "/p/SKU001", "n": self._number}})
        head = f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._sent_at = time.monotonic()
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
