"""Closing connections within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

log = structlog.get_logger()

CLOSE_S = 5.0
"""How long to wait for one connection to close, in seconds."""


async def close_within_bounds(closing: Awaitable[None], what: str) -> None:
    """Waits for `CLOSE_S` at most, since Kafka may be away for good; an error is logged and not raised."""
    task = asyncio.ensure_future(closing)
    await asyncio.wait([task], timeout=CLOSE_S)
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
    if task.cancelled() or not task.done() or task.exception() is not None:
        log.warning("close.abandoned", what=what, after_s=CLOSE_S)
