"""What a store costs a turn: load and record of one worker, in its event loop.

    python -m benchmarks.store [sqlite] [redis] [redis-cold] [redis-always] [sqlite-sealed] [redis-sealed] [redis-cold-sealed]

Turns begin at a steady rate, whatever the answers take; each loads 20 exchanges and what two scopes have spent, claims, and
records an exchange. Redis runs on loopback, on the same cores: `redis` with appendfsync everysec, `redis-always` with
appendfsync always, `redis-cold` without the worker's memory of hot conversations; `-sealed` with a FOREBAY_STORE_KEY. All of
them without a word. Medians of the runs.
"""

from __future__ import annotations

import asyncio
import base64
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop
from redis import Redis
from rich.console import Console
from rich.table import Table

from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.telemetry.percentile import percentile
from forebay.workers.conversations import Entry, Exchange, Store, StoredReply
from forebay.workers.conversations.hot_histories import HotConversations
from forebay.workers.conversations.redis_store import RedisStore
from forebay.workers.conversations.sqlite import SQLiteStore
from forebay.workers.conversations.store_keys import StoreKeys

KINDS = ("sqlite", "redis", "redis-cold", "redis-always", "sqlite-sealed", "redis-sealed", "redis-cold-sealed")
RUNS = 5
RATE = 800
"""Turns a second."""
SECONDS = 8.0
CONVERSATIONS = 400
EXCHANGES = 20
SCOPES = ("", "tenant:shop-eu")
SAID, ANSWER, REPLY = "s" * 80, "a" * 600, b"r" * 1200


class StoreFigures(NamedTuple):
    """Of one run; times in ms."""

    p50: float
    p99: float
    cpu: float
    """Of the worker's process for each turn, with the little that this benchmark takes itself."""
    redis_cpu: float
    """Of Redis for each turn."""
    kept: float
    """Bytes that Redis holds for each turn stored."""


async def turn(store: Store, conversation: int, number: int, took: list[float]) -> None:
    """Begins one turn and ends it."""
    began = time.perf_counter()
    conversation_id, turn_id = f"c-{conversation}", f"t-{number}"
    await store.load(conversation_id, turn_id, EXCHANGES, SCOPES, "worker-1")
    exchange = Exchange(f"{number} {SAID}", ANSWER)
    await store.record(Entry(conversation_id, turn_id, StoredReply("answered", REPLY), exchange, SCOPES, 0.0004))
    took.append((time.perf_counter() - began) * 1000)


async def warm(store: Store) -> None:
    """Every conversation has its 20 exchanges."""
    for number in range(EXCHANGES):
        await asyncio.gather(*(turn(store, conversation, -1 - number, []) for conversation in range(CONVERSATIONS)))


async def steady(store: Store) -> tuple[list[float], float]:
    """Turns at the rate: how long each took, and the worker's CPU in ms for each."""
    took: list[float] = []
    running: set[asyncio.Task[None]] = set()
    draw = random.Random(7)
    began, cpu, number = time.perf_counter(), time.process_time(), 0
    while (since := time.perf_counter() - began) < SECONDS:
        while number < since * RATE:
            task = asyncio.create_task(turn(store, draw.randrange(CONVERSATIONS), number, took))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        await asyncio.sleep(1 / RATE / 2)
    await asyncio.gather(*running)
    return took, (time.process_time() - cpu) * 1000 / number


@contextmanager
def server(folder: Path, *, always: bool) -> Iterator[tuple[str, Redis]]:
    """A Redis that keeps its data as an operator would have it."""
    settings = {"appendfsync": "always" if always else "everysec"}
    with EmbeddedRedis.running(data=folder, settings=settings) as embedded, Redis.from_url(embedded.url) as asking:
        yield embedded.url, asking


def used(asking: Redis) -> tuple[float, float]:
    """CPU in ms, and memory in bytes."""
    found: dict[str, float] = asking.info()
    return (found["used_cpu_user"] + found["used_cpu_sys"]) * 1000, found["used_memory"]


async def measure(kind: str) -> StoreFigures:
    """One run."""
    keys = StoreKeys("a:" + base64.b64encode(bytes(32)).decode() if kind.endswith("-sealed") else "")
    kind = kind.removesuffix("-sealed")
    with tempfile.TemporaryDirectory() as name:
        if kind == "sqlite":
            store: Store = SQLiteStore(f"{name}/store.db", keys)
            await warm(store)
            took, cpu = await steady(store)
            await store.close()
            return StoreFigures(percentile(took, 0.5), percentile(took, 0.99), cpu, 0, 0)
        with server(Path(name), always=kind == "redis-always") as (url, asking):
            store = RedisStore(url, HotConversations(most=0) if kind == "redis-cold" else None, keys)
            await warm(store)
            cpu_before, memory = used(asking)
            took, cpu = await steady(store)
            cpu_after, memory_after = used(asking)
            await store.close()
            redis_cpu, kept = (cpu_after - cpu_before) / len(took), (memory_after - memory) / len(took)
            return StoreFigures(percentile(took, 0.5), percentile(took, 0.99), cpu, redis_cpu, kept)


def main(kinds: list[str]) -> None:
    """Measures and prints."""
    table = Table("store", *("p50 ms", "p99 ms", "CPU ms/turn", "Redis CPU ms/turn", "Redis bytes/turn"))
    for kind in kinds:
        runs = [uvloop.run(measure(kind)) for _ in range(RUNS)]
        medians = [statistics.median(column) for column in zip(*runs, strict=True)]
        table.add_row(kind, *(f"{value:.2f}" for value in medians[:4]), f"{medians[4]:,.0f}")
    console = Console(width=120)
    console.print(f"{RATE} turns/s, {CONVERSATIONS} conversations, {RUNS} runs of {SECONDS:g} s")
    console.print(table)


if __name__ == "__main__":
    wrong = [kind for kind in sys.argv[1:] if kind not in KINDS]
    if wrong:
        sys.exit(f"{wrong[0]!r}: choose from {', '.join(KINDS)}")
    main(sys.argv[1:] or list(KINDS))
