"""The session with one MCP server: opened, watched, opened again when it is lost, and closed.

A cancel scope of anyio has to be left by the task that entered it. So one task owns the connection from its beginning to its
end; calls come from any task.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from contextlib import suppress
from typing import Any

import anyio
import structlog
from mcp import Client, MCPError
from mcp_types import CONNECTION_CLOSED, INVALID_PARAMS, METHOD_NOT_FOUND, REQUEST_TIMEOUT, CallToolResult, Tool

from forebay.schemas import SettingsError
from forebay.workers.assistants.tools import ToolError

from .connection import UNSENT, connect
from .server import McpServer

log = structlog.get_logger()

_OPEN_S = 60.0
"""A server may have to be downloaded by its own command first."""
_CHECK_S = 30.0
"""For a server that is doubted to show that it lives: long, since one that does one thing at a time may be busy."""
_WAIT_S = 5.0
"""That a call waits while a session is being opened."""
_CLOSE_S = 5.0
"""To say goodbye over HTTP. Ending a child process is bounded apart, by the SDK: it is asked, then killed."""
_LIVED_S = 60.0
"""A session that lived so long is opened again at once, a shorter one after a pause."""
_PAUSE_S, _PAUSE_MOST_S = 0.5, 30.0
_PAGES = 100

_AWAY = "the tool cannot be reached at the moment"
_LOST = "the connection to the tool was lost: whether it was done is not known"


class LostCall(ToolError):
    """A call that may have been carried out and brought no answer."""


class McpSession:
    """One server's session."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._client: Client | None = None
        self._since = 0.0
        self._settled = asyncio.Event()  # not while a session is being opened
        self._doubted = asyncio.Event()
        self._scope, self._check = anyio.CancelScope(), anyio.CancelScope()
        self._closing = False
        self._owner: asyncio.Task[None] | None = None

    async def open(self) -> tuple[Tool, ...]:
        """Connects, and lists the server's tools. Raises SettingsError. To be closed even then."""
        opened: asyncio.Future[tuple[Tool, ...]] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(opened), name=f"mcp {self._server.label}")
        return await opened

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """What a tool returned. Many may be called at once; the caller bounds the time. Raises ToolError or LostCall."""
        client = await self._connected()
        try:
            return await client.call_tool(name, arguments)
        except MCPError as error:
            if error.code in (INVALID_PARAMS, METHOD_NOT_FOUND):
                raise ToolError(error.message) from None
            self._doubted.set()
            log.warning("mcp.call_failed", server=self._server.label, tool=name, error=error.message)
            if error.data == UNSENT:
                raise ToolError(_AWAY) from None
            raise LostCall(_LOST if error.code in (CONNECTION_CLOSED, REQUEST_TIMEOUT) else error.message) from None
        except asyncio.CancelledError:
            # Most likely its time was up: a server that hangs is found by that.
            self._doubted.set()
            raise

    async def close(self) -> None:
        """Ends the connection and the child process, also when it is cancelled meanwhile. Idempotent."""
        self._closing = True
        if self._client is None:
            self._scope.cancel()
        else:
            self._doubted.set()
            self._check.cancel()
        cancelled: asyncio.CancelledError | None = None
        while self._owner is not None and not self._owner.done():
            try:
                await asyncio.wait({self._owner})
            except asyncio.CancelledError as error:
                cancelled = error
                self._scope.cancel()
        if cancelled is not None:
            raise cancelled

    async def _connected(self) -> Client:
        if self._client is None and not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_S):
                    await self._settled.wait()
        if self._client is None or self._closing:
            raise ToolError(_AWAY)
        return self._client

    async def _own(self, opened: asyncio.Future[tuple[Tool, ...]]) -> None:
        """The owner's life: a session, a pause, the next one. Ends when it is closed, or when the first cannot be opened."""
        failures = 0
        try:
            with self._scope:
                while not self._closing:
                    self._since = math.inf
                    try:
                        await self._hold(opened)
                    except Exception as error:
                        if not opened.done():
                            opened.set_exception(SettingsError(_explained(self._server, error)))
                            return
                        if not self._closing:
                            log.warning("mcp.lost", server=self._server.label, error=_reason(error))
                    if not self._closing:
                        failures = 0 if time.monotonic() - self._since > _LIVED_S else failures + 1
                        # Not two workers at once, and not a server that dies of every call over and over.
                        most = min(_PAUSE_MOST_S, _PAUSE_S * 2 ** min(failures, 10)) if failures else 0.0
                        await anyio.sleep(random.uniform(most / 2, most))  # noqa: S311
        finally:
            if not opened.done():
                opened.cancel()

    async def _hold(self, opened: asyncio.Future[tuple[Tool, ...]]) -> None:
        """One session, until it is lost (raises what was wrong) or closed."""
        self._settled.clear()
        self._doubted.clear()
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + _OPEN_S) as opening:
                async with connect(self._server, self._doubted.set) as client:
                    tools = await _listed(client)
                    opening.deadline = math.inf
                    self._client, self._since = client, time.monotonic()
                    self._settled.set()
                    log.info("mcp.opened", server=self._server.label, tools=len(tools))
                    if not opened.done():
                        opened.set_result(tools)
                    try:
                        await self._watch(client)
                    finally:
                        self._client = None
                        # A server that hangs would not let us go: to end an HTTP session is a request too.
                        opening.deadline = anyio.current_time() + _CLOSE_S
            if opening.cancelled_caught:
                raise TimeoutError("no answer in time")
        finally:
            self._settled.set()

    async def _watch(self, client: Client) -> None:
        """Returns when it is closed. Raises when the server is doubted and does not show that it lives."""
        while True:
            await self._doubted.wait()
            if self._closing:
                return
            self._doubted.clear()
            with anyio.fail_after(_CHECK_S) as self._check:
                await client.list_tools()


async def _listed(client: Client) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor:
            return tuple(tools)
    raise ValueError(f"its list of tools has more than {_PAGES} pages")


def _first(error: Exception) -> Exception:
    """The first of a group: the SDK wraps what ends a connection once for each of its task groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _reason(error: Exception) -> str:
    return str(_first(error)) or type(_first(error)).__name__


def _explained(server: McpServer, error: Exception) -> str:
    """Why a server could not be opened at the start, and what to do."""
    reason, error = _reason(error), _first(error)
    if server.url:
        fix = "start it, or correct url= and headers="
    elif isinstance(error, MCPError) and error.code == CONNECTION_CLOSED:
        reason, fix = "it ended before it answered", "run the command by hand and read what it says"
    elif isinstance(error, OSError) and not isinstance(error, TimeoutError):
        fix = "install the program, or correct command="
    else:
        fix = "run the command by hand: it has to speak MCP over stdin and stdout"
    return f"McpServer({server.label}): {reason}; {fix}"
