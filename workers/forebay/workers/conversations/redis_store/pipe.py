"""One connection to Redis that all turns of a worker share: what is asked together travels together.

The package `redis` connects (TLS, passwords, unix sockets) and reads. Its own clients take a connection for each call, or
wait for one pipeline before the next; here nothing waits but for its own answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from forebay.workers.conversations.store import StoreError

from .address import Node

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection
    from redis.exceptions import ResponseError

ANSWER_S = 2.5
"""How long an answer may take, the connection included, in seconds. A Redis that hangs is noticed after it."""


class MovedToError(StoreError):
    """This node of a cluster does not have the keys, did nothing, and says who has them."""

    def __init__(self, node: Node) -> None:
        super().__init__(f"redis: moved to {node.host}:{node.port}")
        self.node = node


class Script:
    """A script of this folder, behind what all of them share: `pack.lua`."""

    def __init__(self, name: str) -> None:
        self.text = Path(__file__).with_name("pack.lua").read_bytes() + Path(__file__).with_name(name).read_bytes()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


class _Asked(NamedTuple):
    future: asyncio.Future[Any]
    until: float
    """By the loop's clock, in seconds."""
    script: Script | None
    words: Sequence[bytes]
    """Arguments of a script's call: number of keys, the keys, the other arguments."""


class RedisPipe:
    """One connection. When it breaks it stays `broken`, and another must be opened."""

    def __init__(self, connection: AbstractConnection) -> None:
        """``connection`` is not connected yet, and is this one's alone."""
        self.broken = False
        self._connection = connection
        connection.socket_timeout = None  # one clock for all that is asked, below, instead of one for each read
        self._loop = asyncio.get_running_loop()
        self._unsent: list[bytes] = []
        self._asked: deque[_Asked] = deque()
        self._connected = False
        self._writing: asyncio.Task[None] | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._reading = asyncio.create_task(self._read(), name="store.redis")

    def ask(self, *words: bytes) -> asyncio.Future[Any]:
        """The answer to a command: bytes, an int or None. Raises StoreError, and may have been done nevertheless."""
        return self._put(_Asked(self._loop.create_future(), self._loop.time() + ANSWER_S, None, words))

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> asyncio.Future[Any]:
        """The answer to a script, like `ask`."""
        words = (b"%d" % len(keys), *keys, *arguments)
        return self._put(_Asked(self._loop.create_future(), self._loop.time() + ANSWER_S, script, words))

    async def close(self) -> None:
        """Waits for the answers that are due, `ANSWER_S` at most."""
        if self._asked:
            await asyncio.wait([asked.future for asked in self._asked])
        self._break(ConnectionError("closed"))
        with suppress(asyncio.CancelledError):
            await self._reading

    def _put(self, asked: _Asked, *, whole: bool = False) -> asyncio.Future[Any]:
        if self.broken:
            asked.future.set_exception(StoreError("redis: the connection is closed"))
            return asked.future
        if asked.script is None:
            self._unsent.append(_pack(asked.words))
        elif whole:
            self._unsent.append(_pack((b"EVAL", asked.script.text, *asked.words)))
        else:
            self._unsent.append(_pack((b"EVALSHA", asked.script.sha, *asked.words)))
        self._asked.append(asked)
        if self._clock is None:
            self._clock = self._loop.call_at(asked.until, self._check)
        if self._writing is None and self._connected:
            self._writing = asyncio.create_task(self._write(), name="store.redis.write")
        return asked.future

    async def _write(self) -> None:
        try:
            while self._unsent:
                sending, self._unsent = self._unsent, []
                await self._connection.send_packed_command(b"".join(sending), check_health=False)
        except Exception as error:  # the package has its own errors, and those of sockets
            self._break(error)
        finally:
            self._writing = None

    async def _read(self) -> None:
        from redis.exceptions import ResponseError

        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
            self._connected = True
            if self._unsent:
                self._writing = asyncio.create_task(self._write(), name="store.redis.write")
            while not self.broken:
                try:
                    answer: Any = await self._connection.read_response(disable_decoding=True)
                except ResponseError as error:
                    self._refused(self._asked.popleft(), error)
                    continue
                asked = self._asked.popleft()
                if not asked.future.done():  # whoever asked was cancelled
                    asked.future.set_result(answer)
        except Exception as error:
            self._break(error)
        finally:
            with suppress(Exception):
                await self._connection.disconnect(nowait=True)

    def _refused(self, asked: _Asked, error: ResponseError) -> None:
        from redis.exceptions import MovedError, NoScriptError

        text = " ".join(str(error).split())
        if isinstance(error, NoScriptError) and asked.script is not None:
            self._put(asked, whole=True)
            return
        if not asked.future.done():
            moved = isinstance(error, MovedError) and MovedToError(Node(str(error.host), int(error.port)))
            asked.future.set_exception(moved or StoreError(f"redis: {text}"))
        if "READONLY" in text or "read only" in text:
            # What was the primary is a replica now; a new connection finds the one that is.
            self._break(error)

    def _check(self) -> None:
        self._clock = None
        if not self._asked:
            return
        if self._loop.time() >= self._asked[0].until:
            self._break(TimeoutError(f"no answer within {ANSWER_S:g} s"))
        else:
            self._clock = self._loop.call_at(self._asked[0].until, self._check)

    def _break(self, error: Exception) -> None:
        """Fails every call under way: Redis may have done what they asked, or not."""
        if self.broken:
            return
        self.broken = True
        for task in (self._reading, self._writing):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        if self._clock is not None:
            self._clock.cancel()
        line = " ".join(str(error).split()) or type(error).__name__
        for asked in self._asked:
            if not asked.future.done():
                asked.future.set_exception(StoreError(f"redis: {line}"))
        self._asked.clear()


def _pack(words: Sequence[bytes]) -> bytes:
    """A command in RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)
