"""The life of a Python peer: its contract, uvloop, its end on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

import uvloop

from benchmarks.engine_contract import Contract

Work = Callable[[Contract], Awaitable[None]]


async def _until_sigterm(work: Work) -> None:
    task = asyncio.ensure_future(work(Contract.from_command_line()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def run(work: Work) -> None:
    """Runs `work` on uvloop until SIGTERM cancels it."""
    uvloop.run(_until_sigterm(work))
