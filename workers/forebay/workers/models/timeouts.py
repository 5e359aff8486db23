"""Timeouts of model calls: one for each place where a call can get stuck, and one for all of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from .options import ModelOptions


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. The settings are called like the fields: ``connect_s`` is ``FOREBAY_CONNECT_TIMEOUT_S``."""

    connect_s: float = 3.0
    tls_s: float = 5.0
    """For the TLS handshake, after the connection stands."""
    first_token_s: float = 30.0
    """Of a streamed reply."""
    between_tokens_s: float = 10.0
    """Of a streamed reply."""
    call_s: float = 60.0
    """The whole call, streamed or not."""

    def with_options(self, options: ModelOptions) -> Timeouts:
        """The same with what is set for one model."""
        return replace(
            self, call_s=options.call_s or self.call_s, first_token_s=options.first_token_s or self.first_token_s
        )


class CallClock:
    """Bounds one call: to its first token, between tokens, and in all. Raises TimeoutError out of its block.

    What runs in the block is cancelled, which closes its connection: a provider that hangs costs no socket.
    """

    __slots__ = ("_ends_at", "_heard", "_loop", "_timeout", "_timeouts")

    def __init__(self, timeouts: Timeouts, *, streamed: bool) -> None:
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + timeouts.call_s
        self._heard = False
        first = self._loop.time() + timeouts.first_token_s if streamed else self._ends_at
        self._timeout = asyncio.timeout_at(min(first, self._ends_at))

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    def token(self) -> None:
        """A piece of the reply came."""
        self._heard = True
        if not self._timeout.expired():
            self._timeout.reschedule(min(self._loop.time() + self._timeouts.between_tokens_s, self._ends_at))

    def reason(self) -> str:
        """Which of the timeouts it was, after a TimeoutError."""
        times = self._timeouts
        if self._loop.time() >= self._ends_at:
            return f"no whole answer within {times.call_s:g} s (FOREBAY_CALL_TIMEOUT_S)"
        if not self._heard:
            return f"no first token within {times.first_token_s:g} s (FOREBAY_FIRST_TOKEN_TIMEOUT_S)"
        return f"no further token within {times.between_tokens_s:g} s (FOREBAY_BETWEEN_TOKENS_TIMEOUT_S)"
