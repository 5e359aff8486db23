"""Mistakes of the assistant's own code: whatever it raises is its turn's failure, and no worker's end."""

from __future__ import annotations

import asyncio

MISTAKES = (Exception, asyncio.CancelledError, SystemExit, KeyboardInterrupt)
"""What such code may raise: `sys.exit()` in a library, a cancelled task of its own. Signals never arrive as
KeyboardInterrupt in a worker: its loop has handlers for them."""


def raise_if_ours(error: BaseException) -> None:
    """Raises a cancellation that was meant for this task; one that the code brought up by itself is its mistake."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
