"""What the Python peers share: the model call, the reply, and a life that ends on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import anthropic
import orjson
import uvloop

MODEL = "claude-haiku-4-5"
GROUP = "peers"
CONCURRENCY = 50
SESSION_MS = 6_000
"""As Forebay's: a stop outlasts it."""


def client() -> anthropic.AsyncAnthropic:
    """The SDK with its own retries, as many as Forebay makes, and a timeout that ends a hanging call."""
    return anthropic.AsyncAnthropic(max_retries=5, timeout=8.0)


async def answer(model: anthropic.AsyncAnthropic, turn: dict[str, Any]) -> bytes:
    """The reply to a turn. Whoever waits is told when the model does not answer.

    ``reply_id`` is the model's own id of its message: two calls of one turn show as two different answers, as they would
    with a model that never says the same twice.
    """
    reply = {"turn_id": turn["turn_id"], "conversation_id": turn["conversation_id"]}
    try:
        message = await model.messages.create(
            model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": turn["text"]}]
        )
    except Exception as error:  # a body that is no JSON comes through the SDK as it is
        return orjson.dumps({**reply, "reply_id": str(uuid.uuid4()), "outcome": "failed", "text": str(error)})
    text = "".join(block.text for block in message.content if block.type == "text")
    return orjson.dumps({**reply, "reply_id": message.id, "outcome": "answered", "text": text})


def decode(value: bytes | None) -> dict[str, Any] | None:
    """The turn in a record; None for what is none, which is skipped."""
    try:
        turn = orjson.loads(value or b"")
        return turn if turn["turn_id"] and turn["conversation_id"] and turn["text"] else None
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None


def say(event: str) -> None:
    """One line in the log, as JSON."""
    sys.stdout.write(orjson.dumps({"event": event}).decode() + "\n")
    sys.stdout.flush()


def until_sigterm(work: Coroutine[Any, Any, None]) -> None:
    """Runs the work until SIGTERM cancels it."""

    async def main() -> None:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    uvloop.run(main())
