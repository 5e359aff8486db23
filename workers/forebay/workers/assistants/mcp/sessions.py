"""The sessions of a worker with the MCP servers of its assistant."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from forebay.schemas import SettingsError
from forebay.schemas.extras import needs
from forebay.workers.assistants.definition import Assistant
from forebay.workers.assistants.tools import Tool

from .server import McpServer

if TYPE_CHECKING:
    from .session import McpSession


class McpSessions:
    """The sessions with all servers of an assistant, as a context: it is entered at the worker's start and gives their tools.

    Raises SettingsError for a server that cannot be reached or does not have what is asked of it. Leaving it ends every
    child process and connection.
    """

    def __init__(self, sources: Iterable[object]) -> None:
        """``sources`` are any sources of tools; those that are no McpServer are passed over."""
        self._servers = tuple(dict.fromkeys(source for source in sources if isinstance(source, McpServer)))
        self._sessions: tuple[McpSession, ...] = ()

    @classmethod
    def of(cls, assistant: Assistant) -> McpSessions:
        """Those of an assistant and its specialists."""
        return cls((*assistant.tools, *(tool for one in assistant.specialists for tool in one.tools)))

    async def __aenter__(self) -> Mapping[McpServer, tuple[Tool, ...]]:
        if not self._servers:
            return {}
        try:
            # Takes half a second and 40 MB: only where there is a server.
            from .session import McpSession
            from .tool import read_tools
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith("forebay."):
                raise
            raise SettingsError(needs(f"McpServer({self._servers[0].label})", "mcp")) from None
        self._sessions = tuple(McpSession(server) for server in self._servers)
        try:
            listed = await asyncio.gather(*(session.open() for session in self._sessions))
            return {
                server: read_tools(server, tools, session.call)
                for server, session, tools in zip(self._servers, self._sessions, listed, strict=True)
            }
        except BaseException:
            await self._close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await asyncio.gather(*(session.close() for session in self._sessions))
