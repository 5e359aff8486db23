"""The line for new sessions: a provider lets an organisation create only so many a minute, whoever asks for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SESSIONS_PER_WINDOW = 60
"""Anthropic's limit for an organisation, per minute, as of November 2026."""
WINDOW_S = 60.0


class SessionLine:
    """A sliding window, first come first served, for one key. It belongs to one event loop.

    A creation counts from when it is asked for until ``window_s`` after it was answered: the provider counts it somewhere
    between, so no slow request makes its window fuller than ours.
    """

    def __init__(self, limit: int = SESSIONS_PER_WINDOW, window_s: float = WINDOW_S) -> None:
        self._places = asyncio.Semaphore(limit)
        self._window_s = window_s
        self._opens_at = -math.inf

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Waits for a place to create one session in."""
        loop = asyncio.get_running_loop()
        await self._places.acquire()
        try:
            while (now := loop.time()) < self._opens_at:
                await asyncio.sleep(self._opens_at - now)
        except BaseException:
            self._places.release()  # nothing was asked for
            raise
        try:
            yield
        finally:
            loop.call_later(self._window_s, self._places.release)

    def close_for(self, seconds: float) -> None:
        """The provider refuses: others of the organisation create sessions too. Nobody is let in for so long."""
        self._opens_at = max(self._opens_at, asyncio.get_running_loop().time() + seconds)
