"""The provider at its worst: half of its capacity gone, or all of it.

    python -m benchmarks.storm [half] [outage] [outage-100]   # outage-100: two workers with 100 calls each, not 50

Real Kafka, worker processes, the real SDK over HTTP to the simulated model API, all on loopback; each measurement ends by
itself.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import uvloop
from rich.console import Console

from forebay.producers import TopicSettings, apply_topics
from forebay.producers.feed import Feed
from forebay.rehearsal.delivery_check import DeliveryCheck
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster, decode_reply

from .whole import Figures, backlog, model_api, workers

console = Console(width=120)

LATENCY_S = 0.3
CONCURRENCY = 100


class Provider:
    """The simulated model API's own figures and limits, over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def limit(self, **limits: Any) -> None:
        async with self._session.post(f"{self._url}/limits", json=limits) as answer:
            answer.raise_for_status()

    async def stats(self) -> dict[str, Any]:
        async with self._session.get(f"{self._url}/stats") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def counts(self) -> tuple[int, int]:
        """(calls answered, calls refused) so far."""
        stats = await self.stats()
        return sum(outcomes.get("ok", 0) for outcomes in stats["calls"].values()), sum(stats["refused"].values())


@asynccontextmanager
async def provider(latency_ms: float = LATENCY_S * 1000) -> AsyncIterator[tuple[str, Provider]]:
    with model_api(latency_ms) as url:
        async with aiohttp.ClientSession() as session:
            yield url, Provider(url, session)


async def half(cluster: Cluster) -> Figures:
    """A provider that takes 100 calls at once and then only 50: our limit beside a fixed one."""
    figures: Figures = {}
    for name, floor in (("adaptive", 1), ("fixed", CONCURRENCY)):
        own = cluster.model_copy(update={"topic_prefix": f"half-{name}"})
        await apply_topics(own, TopicSettings(topic_partitions=4))
        await backlog(own, 25_000, 8_000)
        async with provider() as (url, api):
            await api.limit(max_in_flight=CONCURRENCY, refuse_with=429)
            async with workers(own, url, 1, concurrency=CONCURRENCY, concurrency_floor=floor):
                while (await api.counts())[0] < 2_000:
                    await asyncio.sleep(0.1)
                await api.limit(max_in_flight=CONCURRENCY // 2)
                began, (answered, refused) = time.monotonic(), await api.counts()
                await asyncio.sleep(40)
                took_s, (answered_then, refused_then) = time.monotonic() - began, await api.counts()
        good, wasted = answered_then - answered, refused_then - refused
        figures[f"{name}: goodput of what is allowed"] = f"{good / (took_s * CONCURRENCY / 2 / LATENCY_S):.1%}"
        figures[f"{name}: calls refused"] = f"{wasted:,} of {good + wasted:,} ({wasted / (good + wasted):.1%})"
    return figures


async def outage(cluster: Cluster, rate: int = 150, concurrency: int = 50) -> Figures:
    """So many turns/s all the time, nothing answered for 60 s: how long the backlog takes afterwards, and what is lost.

    The ideal is two workers with all their permits in use from the moment in which the provider is back.
    """
    check, dead = DeliveryCheck(), list[bytes | None]()
    feeds = [
        Feed(
            cluster,
            cluster.topics.replies,
            lambda r: check.reply_read(decode_reply(r.value), r.value, time.monotonic()),
        ),
        Feed(cluster, cluster.topics.dead_letters, lambda record: dead.append(record.value)),
    ]
    for feed in feeds:
        await feed.start()
    async with provider() as (url, api), workers(cluster, url, 2, concurrency=concurrency):
        sent = 0
        while sent < 10 * rate:
            sent += await second_of_traffic(cluster, check, rate)
        ended = asyncio.create_task(down(api, 60.0))
        while not ended.done():
            sent += await second_of_traffic(cluster, check, rate)
        back, waiting = await ended, sent - check.replied
        while check.replied < sent and time.monotonic() - back < 120:
            await asyncio.sleep(0.02)
        took_s = time.monotonic() - back
    for feed in feeds:
        await feed.stop()
    ideal_s = waiting / (2 * concurrency / LATENCY_S)
    verdict = check.verdict()
    return {
        "waiting when it came back": waiting,
        "drained in s": round(took_s, 2),
        "ideal s": round(ideal_s, 2),
        "ratio": round(took_s / ideal_s, 2),
        "dead letters": len(dead),
        "lost": verdict.lost,
        "out of order": verdict.out_of_order,
    }


async def down(api: Provider, seconds: float) -> float:
    """Nothing is answered for so long; returns when that ended."""
    await api.limit(outage="refuse")
    await asyncio.sleep(seconds)
    await api.limit(outage=None)
    return time.monotonic()


async def second_of_traffic(cluster: Cluster, check: DeliveryCheck, rate: int) -> int:
    began = time.monotonic()
    await backlog(cluster, rate, 1_000_000, check, seed=time.time_ns())
    await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - began)))
    return rate


MEASUREMENTS: dict[str, Callable[[Cluster], Coroutine[None, None, Figures]]] = {
    "half": half,
    "outage": outage,
    "outage-100": partial(outage, rate=300, concurrency=100),
}


async def measure(kafka: EmbeddedKafka, names: list[str]) -> None:
    for name in names:
        cluster = Cluster(kafka=kafka.bootstrap_servers, topic_prefix=f"storm-{name}")
        await apply_topics(cluster, TopicSettings(topic_partitions=12))
        figures = await MEASUREMENTS[name](cluster)
        console.print(f"[bold]{name}[/]: " + "; ".join(f"{label} {figure}" for label, figure in figures.items()))


def main() -> None:
    names = sys.argv[1:] or list(MEASUREMENTS)
    if unknown := set(names) - set(MEASUREMENTS):
        raise SystemExit(f"no such measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    with EmbeddedKafka.running() as kafka:
        uvloop.run(measure(kafka, names))


if __name__ == "__main__":
    main()
