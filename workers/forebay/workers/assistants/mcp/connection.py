"""A connection to an MCP server: a child process or streamable HTTP, such that one failed request is not the end of all."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, Implementation

from .server import McpServer

UNSENT = "unsent"
"""In an error's data: the server has not taken the request."""

# A call may take as long as the tools of its turn may: the toolbox ends it.
_TIMEOUT = httpx2.Timeout(10.0, read=None)
# As many connections as there are calls; those are bounded by the turns in flight.
_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=50)
_WE = Implementation(name="forebay", version="0.1.0")

Message = SessionMessage | Exception


@asynccontextmanager
async def connect(server: McpServer, ended: Callable[[], None]) -> AsyncIterator[Client]:
    """A client that has shaken hands; ``ended`` is called when the server's process has closed its stdout.

    Raises OSError, MCPError, httpx2.TransportError or a group of such.
    """
    if server.command:
        program, *arguments = server.command
        # By our own name for stderr: the default is the one of the time when the package was imported.
        child = StdioServerParameters(command=program, args=arguments, env=dict(server.env))
        async with _client(_watched(stdio_client(child, errlog=sys.stderr), ended)) as client:
            yield client
        return
    async with (
        _Http(headers=dict(server.headers), timeout=_TIMEOUT, limits=_LIMITS) as http,
        _client(streamable_http_client(server.url, http_client=http)) as client,
    ):
        yield client


def _client(transport: Transport) -> Client:
    return Client(transport, client_info=_WE, cache=None)


class _Http(httpx2.AsyncClient):
    """Makes an answer of what the SDK would take for the end of the session, and of all calls that wait in it."""

    async def send(self, request: httpx2.Request, **how: Any) -> httpx2.Response:
        """The server's response, or an error for this one request."""
        try:
            response = await super().send(request, **how)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return _error(request, CONNECTION_CLOSED, f"it cannot be reached: {error}", UNSENT)
        except httpx2.TransportError as error:
            return _error(request, CONNECTION_CLOSED, f"the connection broke: {type(error).__name__}: {error}")
        status = response.status_code
        forgotten = status == 404 and "mcp-session-id" in request.headers
        if status in (401, 403, 407, 429) or status >= 500 or forgotten:
            await response.aclose()
            what = f"it answered with HTTP {status} {response.reason_phrase}"
            return _error(request, INTERNAL_ERROR, what, None if status >= 500 else UNSENT)
        return response


def _error(request: httpx2.Request, code: int, message: str, data: str | None = None) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message, "data": data}}
    return httpx2.Response(503, json=body, request=request)


@asynccontextmanager
async def _watched(
    transport: AbstractAsyncContextManager[tuple[Any, Any]], ended: Callable[[], None]
) -> AsyncIterator[tuple[Any, Any]]:
    async with transport as (read, write):
        yield _Watched(read, ended), write


class _Watched:
    """A stream of messages that tells when it has ended: the SDK tells only those who wait for an answer."""

    def __init__(self, stream: Any, ended: Callable[[], None]) -> None:
        self._stream, self._ended = stream, ended

    async def receive(self) -> Message:
        """The next message; raises anyio.EndOfStream."""
        received: Message = await self._stream.receive()
        return received

    async def aclose(self) -> None:
        """Closes the reader's side."""
        await self._stream.aclose()

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Message:
        try:
            received: Message = await self._stream.__anext__()
        except StopAsyncIteration:
            self._ended()
            raise
        return received

    async def __aenter__(self) -> _Watched:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        ends: bool | None = await self._stream.__aexit__(kind, error, trace)
        return ends
