"""Threads for tools that are plain functions. They are daemons: one that hangs must not keep a worker from ending."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

MOST = 256
"""At the same time, in a process. One that never ends keeps its place: then tools wait, and time out."""

_places = threading.BoundedSemaphore(MOST)
_LOOK_S = 0.05


async def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What the function returns or raises. Cancelling stops waiting for it; a thread cannot be stopped."""
    while not _places.acquire(blocking=False):
        await asyncio.sleep(_LOOK_S)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            # A future takes no StopIteration, and no loop survives a SystemExit.
            future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(function, *arguments, **named)
        except StopIteration as stopped:
            error = RuntimeError(repr(stopped))
        except BaseException as raised:  # all of it is for whoever waits
            error = raised
        finally:
            _places.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="forebay-tool", daemon=True).start()
    return await future
