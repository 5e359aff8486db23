"""The connections of a Redis store: one, or one to each node of a cluster that has shards of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from .address import Node, RedisAddress
from .pipe import MovedToError, RedisPipe

_HOPS = 3
"""How often a call follows a shard to where it is said to be, while a cluster changes."""
_ADVICE = {
    b"maxmemory_policy:": (
        b"noeviction",
        "set maxmemory-policy noeviction: others drop conversations when memory is full",
    ),
    b"aof_enabled:": (b"1", "set appendonly yes, or have replicas: a Redis that restarts has forgotten everything"),
}

log = structlog.get_logger()


class RedisNodes:
    """Opens connections when they are needed, and again when they broke.

    All shards are asked for at the address of the settings until a node says where they are. Nothing was done by a node that
    says so; a shard whose node is away is asked for at the address again.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._pipes: dict[Node | None, RedisPipe] = {}
        self._where: dict[int, Node] = {}
        self._looked = False

    async def ask(self, shard: int, call: Callable[[RedisPipe], asyncio.Future[Any]]) -> Any:
        """The answer to a call about this shard. Raises StoreError."""
        for _ in range(_HOPS):
            try:
                return await call(self._pipe(shard))
            except MovedToError as moved:
                self._where[shard] = self._address.node(moved.node)
        return await call(self._pipe(shard))

    async def close(self) -> None:
        """Waits for what was asked, then closes the connections."""
        await asyncio.gather(*(pipe.close() for pipe in self._pipes.values()))

    def _pipe(self, shard: int) -> RedisPipe:
        node = self._where.get(shard)
        pipe = self._pipes.get(node)
        if pipe is not None and not pipe.broken:
            return pipe
        if pipe is not None and node is not None:
            del self._pipes[node]
            self._where = {number: where for number, where in self._where.items() if where != node}
            return self._pipe(shard)
        self._pipes[node] = pipe = RedisPipe(self._address.connection(node))
        if not self._looked:
            for section in (b"memory", b"persistence"):
                pipe.ask(b"INFO", section).add_done_callback(self._look)
        return pipe

    def _look(self, told: asyncio.Future[bytes]) -> None:
        """Says once what an operator should change; silent where Redis does not tell."""
        if told.cancelled() or told.exception() is not None:
            return
        self._looked = True
        for line in told.result().split(b"\r\n"):
            for name, (wanted, fix) in _ADVICE.items():
                if line.startswith(name) and line != name + wanted:
                    log.warning("store.redis_settings", redis=self._address.shown, found=line.decode(), fix=fix)
