"""The HTTP transport of both SDKs: a connection pool sized by the permits, keepalive, a timeout for each step."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import aiohttp
import httpx2

from .timeouts import Timeouts

IDLE_S = 300.0
"""Unused connections are closed after so many seconds: shorter, and each burst begins with handshakes."""
_KEEPALIVE_S = 30

Client = TypeVar("Client", bound=httpx2.AsyncClient)


def timeout(timeouts: Timeouts) -> httpx2.Timeout:
    """None of the transport's own: `_Connector` bounds the connection, `CallClock` the tokens and the whole call."""
    return httpx2.Timeout(connect=None, read=None, write=timeouts.call_s, pool=timeouts.call_s)


def http_client(of: type[Client], connections: int, timeouts: Timeouts) -> Client:
    """The SDK's own aiohttp client, on a connection pool of ours: ``connections`` at most, with TCP keepalive."""
    client = of(limits=httpx2.Limits(max_connections=connections), timeout=timeout(timeouts))
    # The only way to give the SDK's transport a session: it takes a function that makes one.
    transport: Any = client._transport
    transport.client = partial(_session, connections, timeouts, transport.ssl_context)
    return client


def _session(connections: int, timeouts: Timeouts, tls: Any) -> aiohttp.ClientSession:
    connector = _Connector(timeouts, limit=connections, keepalive_timeout=IDLE_S, ssl=tls, socket_factory=_socket)
    # Cookies would go from one customer's call to the next one's.
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class _Connector(aiohttp.TCPConnector):
    """Bounds connection and TLS handshake apart, for which aiohttp has one setting, and names the one that was passed."""

    def __init__(self, timeouts: Timeouts, **options: Any) -> None:
        super().__init__(**options)
        self._timeouts = timeouts

    async def _wrap_create_connection(self, *args: Any, **options: Any) -> tuple[asyncio.Transport, Any]:
        """aiohttp asks for the protocol when the connection stands and the handshake begins: there the bound changes."""
        times, said = (
            self._timeouts,
            f"no connection within {self._timeouts.connect_s:g} s (FOREBAY_CONNECT_TIMEOUT_S)",
        )

        def connected() -> Any:
            nonlocal said
            if options.get("ssl"):
                said = f"no TLS handshake within {times.tls_s:g} s (FOREBAY_TLS_TIMEOUT_S)"
                bound.reschedule(self._loop.time() + times.tls_s)
            return args[0]()

        try:
            async with asyncio.timeout(times.connect_s) as bound:
                return await super()._wrap_create_connection(connected, *args[1:], **options)
        except TimeoutError:
            raise aiohttp.ClientConnectorError(options["req"].connection_key, OSError(None, said)) from None


def _socket(address: Sequence[Any]) -> socket.socket:
    """A socket whose dead peer is noticed: a NAT that forgot the connection answers no keepalive."""
    family, kind, protocol = address[0], address[1], address[2]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, option):  # macOS has no TCP_KEEPIDLE
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), _KEEPALIVE_S)
    return made
