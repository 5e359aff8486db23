"""The simulated model API as a server that a test or a command starts and ends."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

from forebay.rehearsal.model_api.http.client_connection import ClientConnection
from forebay.rehearsal.model_api.limits.provider_limits import Limits
from forebay.rehearsal.model_api.managed.managed_agents import ManagedAgents

from .api_settings import ModelApiSettings
from .errors import ModelApiError
from .faults import Fault, FaultRule, fault_kind
from .service import Service
from .stats import Stats

_BACKLOG = 4096
"""Connections that may wait to be accepted: a load test opens hundreds at once."""


class ModelApi:
    """A simulated Anthropic and OpenAI API over HTTP, on the running event loop.

    `async with ModelApi(settings) as api:` listens at `api.url`. For the Anthropic SDK that is the base URL, for the
    OpenAI SDK it is `api.url + "/v1"`.
    """

    def __init__(self, settings: ModelApiSettings | None = None) -> None:
        self.settings = settings if settings is not None else ModelApiSettings()
        self._service = Service(self.settings)
        self._connections: set[ClientConnection] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def managed(self) -> ManagedAgents:
        """Its managed agents: agents, environments, sessions."""
        return self._service.managed

    async def start(self) -> None:
        """Listen. Raises ModelApiError where the address cannot be had."""
        loop = asyncio.get_running_loop()
        host, port = self.settings.host, self.settings.port
        try:
            self._server = await loop.create_server(
                lambda: ClientConnection(self._service, loop, self._connections), host, port, backlog=_BACKLOG
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"port {port} on {host} is in use: choose another with --port, or 0 for a free one"
            else:
                message = f"cannot listen on {host}, port {port}: {error.strerror or error}"
            raise ModelApiError(message) from None
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End every connection and timer. A second call does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        while self._connections:
            for connection in tuple(self._connections):
                connection.abort()
            await asyncio.sleep(0)
        await server.wait_closed()

    async def __aenter__(self) -> ModelApi:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        return self._port

    @property
    def url(self) -> str:
        """Such as `http://127.0.0.1:45671`, without a path."""
        host = self.settings.host
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def stats(self) -> Stats:
        """The counts now."""
        return self._service.stats()

    def set_gullible(self, gullible: bool) -> None:
        """Whether the model does from now on what tools' results tell it to, as in the settings."""
        self._service.settings = replace(self._service.settings, gullible=gullible)

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._service.admission.limits

    def set_limits(self, **fields: Any) -> None:
        """Change limits from now on, as `POST /limits` does; ModelApiError for a value that makes no sense.

        The fields are those of `Limits`; those left out stay as they are.
        """
        self._service.admission.change(fields)

    def reset_limits(self) -> None:
        """Put the limits of the settings in force again."""
        self._service.admission.reset()

    def add_fault(
        self,
        kind: Fault | str,
        *,
        count: int | None = None,
        share: float = 1.0,
        match: str = "",
        seconds: float | None = None,
        after: int | None = None,
    ) -> None:
        """Strike calls from now on, as `POST /faults` does; ModelApiError for a value that makes no sense.

        The fields are those of `FaultRule`.
        """
        try:
            self._service.control.add(FaultRule(fault_kind(kind), count, share, match, seconds, after))
        except ValueError as error:
            raise ModelApiError(str(error)) from None

    def clear_faults(self) -> None:
        """Drop every fault added; the shares of the settings stay."""
        self._service.control.clear()


async def serve(settings: ModelApiSettings, on_ready: Callable[[str], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set. `on_ready` gets the URL once the API listens. Raises ModelApiError."""
    async with ModelApi(settings) as api:
        on_ready(api.url)
        await stop.wait()
