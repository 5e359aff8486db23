"""The gateway measured: many open connections, many turns in, time to the first word, several gateways side by side.

    python -m benchmarks.front [connections] [websockets] [gateways] [posts] [first-word] [place]

Real Kafka, worker processes, the simulated model API; load on loopback only; each measurement ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from functools import partial
from pathlib import Path

import aiohttp
import orjson
import psutil
import uvloop
from aiohttp import web
from rich.console import Console

from forebay.operations.planning.traffic import Traffic
from forebay.producers import ChatClient, TopicSettings, apply_topics, new_turn
from forebay.producers.feed import Feed
from forebay.rehearsal.customers import Customers, Visit
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import GatewayProcess, WorkerProcess
from forebay.schemas import Cluster, Delta
from forebay.telemetry.percentile import percentile

from .http_clients import Listener, Poster
from .whole import model_api, workers

console = Console(width=120)
ROOT = Path(__file__).resolve().parent.parent
Figures = dict[str, float | int | str]

CONNECTIONS = 10_000
RATE = 200.0
LOADED_S = 30.0


@contextlib.asynccontextmanager
async def gateways(cluster: Cluster, count: int = 1, **settings: object) -> AsyncIterator[list[GatewayProcess]]:
    """Gateway processes, open on loopback, that are ready."""
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        environment = {
            "FOREBAY_KAFKA": cluster.kafka,
            "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
            **{f"FOREBAY_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()},
        }
        started = [GatewayProcess(f"gateway-{n}", Path(folder), environment) for n in range(count)]
        try:
            await asyncio.gather(*(process.ready() for process in started))
            yield started
        finally:
            for process in started:
                process.close()


def port_of(process: WorkerProcess) -> int:
    """Where a gateway listens."""
    return int(str(process.logged("gateway.listening", "port")))


def used(process: WorkerProcess) -> tuple[float, int]:
    """(CPU seconds, resident bytes) of a process."""
    seen = psutil.Process(process.pid)
    times = seen.cpu_times()
    return times.user + times.system, seen.memory_info().rss


async def listening(cluster: Cluster, *, socket: bool, count: int = 1) -> Figures:
    """Many connections, each of a conversation of its own, at so many gateways, and turns to some of them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    late_ms: list[float] = []

    def arrived(created_at: bytes, now: float) -> None:
        late_ms.append((now - _seconds(created_at)) * 1000)

    with model_api(300.0) as url:
        async with workers(cluster, url, 1, concurrency=200), gateways(cluster, count) as served:
            ports, loop = [port_of(gateway) for gateway in served], asyncio.get_running_loop()
            empty = sum(used(gateway)[1] for gateway in served)
            listeners: list[Listener] = []
            for first in range(0, CONNECTIONS, 500):
                opening = [
                    loop.create_connection(
                        partial(Listener, _asks(number, port, socket=socket), arrived), "127.0.0.1", port
                    )
                    for number in range(first, first + 500)
                    for port in (ports[number % count],)
                ]
                opened = [protocol for _, protocol in await asyncio.gather(*opening)]
                await asyncio.gather(*(listener.opened for listener in opened))
                listeners += opened
            await asyncio.sleep(2)
            full = sum(used(gateway)[1] for gateway in served)
            await _turns(ports, RATE, 5.0)
            await asyncio.sleep(2)
            late_ms.clear()
            before, began = [used(gateway)[0] for gateway in served], time.monotonic()
            sent = await _turns(ports, RATE, LOADED_S)
            await _until(lambda: len(late_ms) >= sent, 10.0)
            seconds = time.monotonic() - began
            busy = [(used(gateway)[0] - spent) / seconds for gateway, spent in zip(served, before, strict=True)]
            peak = sum(used(gateway)[1] for gateway in served)
            for listener in listeners:
                listener.transport.abort()
    return {
        "gateways": count,
        "connections": len(listeners),
        "KiB a connection": round((full - empty) / len(listeners) / 1024, 1),
        "KiB a connection, under load": round((peak - empty) / len(listeners) / 1024, 1),
        "turns": sent,
        "replies heard": len(late_ms),
        "reply written to heard, p50 ms": round(percentile(late_ms, 0.5), 1),
        "p99 ms": round(percentile(late_ms, 0.99), 1),
        "most ms": round(max(late_ms), 1),
        "CPU of each gateway, share of a core": ", ".join(f"{share:.2f}" for share in busy),
    }


def _asks(number: int, port: int, *, socket: bool) -> bytes:
    path, host = f"/v1/conversations/c-{number}", f"Host: 127.0.0.1:{port}\r\n"
    if not socket:
        return f"GET {path}/events HTTP/1.1\r\n{host}\r\n".encode()
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    return f"GET {path}/ws HTTP/1.1\r\n{host}{upgrade}\r\n".encode()


async def _turns(ports: list[int], rate: float, seconds: float) -> int:
    """Sends turns over HTTP to random conversations, each at its moment."""
    rng, sent, began = random.Random(5), 0, time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        posting: set[asyncio.Task[None]] = set()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            port = ports[number % len(ports)]
            url = f"http://127.0.0.1:{port}/v1/conversations/c-{rng.randrange(CONNECTIONS)}/turns"
            task = asyncio.create_task(_post(session, url))
            posting.add(task)
            task.add_done_callback(posting.discard)
            sent += 1
        await asyncio.gather(*posting)
    return sent


async def _post(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url, json={"text": "Is SKU001 in stock?"}) as response:
        assert response.status == 202, await response.text()


async def _until(done: Callable[[], bool], patience_s: float) -> None:
    give_up = time.monotonic() + patience_s
    while not done() and time.monotonic() < give_up:
        await asyncio.sleep(0.05)


def _seconds(written: bytes) -> float:
    return datetime.fromisoformat(written.decode().rstrip('",')).timestamp()


async def posts(cluster: Cluster) -> Figures:
    """Turns accepted a second by one gateway, and by a bare aiohttp that echoes the same body."""
    figures: Figures = {}
    async with gateways(cluster, turns_a_second=1e6, tenant_turns_a_second=1e6) as [gateway]:
        port = port_of(gateway)
        figures |= await _posted("gateway", gateway, port)
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.front", "echo"]
        echo = WorkerProcess("echo", Path(folder), {"PYTHONPATH": str(ROOT)}, command)
        try:
            await _until(lambda: "{" in echo.last_line(), 10.0)
            figures |= await _posted("bare echo", echo, int(str(echo.logged("listening", "port"))))
        finally:
            echo.close()
    ms = figures["gateway, ms CPU a POST"], figures["bare echo, ms CPU a POST"]
    figures["ratio"] = round(float(ms[0]) / float(ms[1]), 2)
    return figures


async def _posted(name: str, process: WorkerProcess, port: int) -> Figures:
    taken: list[float] = []
    loop, clients = asyncio.get_running_loop(), 64

    async def load(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        made = [
            await loop.create_connection(
                partial(Poster, f"/v1/conversations/c-{n}/turns", deadline, taken.append), "127.0.0.1", port
            )
            for n in range(clients)
        ]
        await asyncio.gather(*(poster.ended for _, poster in made))

    await load(2.0)
    taken.clear()
    cpu, began = used(process)[0], time.monotonic()
    await load(10.0)
    spent = used(process)[0] - cpu
    return {
        f"{name}, accepted a second": round(len(taken) / (time.monotonic() - began)),
        f"{name}, ms CPU a POST": round(spent / len(taken) * 1000, 3),
        f"{name}, p50 ms": round(percentile(taken, 0.5) * 1000, 1),
        f"{name}, p99 ms": round(percentile(taken, 0.99) * 1000, 1),
    }


async def echo() -> None:
    """The bare framework: aiohttp on uvloop, reading JSON and giving it back."""

    async def back(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(orjson.loads(await request.read())), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/conversations/{conversation_id}/turns", back)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(orjson.dumps({"event": "listening", "port": runner.addresses[0][1]}).decode(), flush=True)
    await asyncio.Event().wait()


async def first_word(cluster: Cluster) -> Figures:
    """From sending a streamed turn to its first word, through the gateway and beside it, less the model's own time."""
    turns = 60
    with model_api(300.0, jitter=0.0) as url:
        async with workers(cluster, url, 1), gateways(cluster) as [gateway]:
            base = f"http://127.0.0.1:{port_of(gateway)}/v1/conversations"
            async with aiohttp.ClientSession() as session, ChatClient(cluster) as chat:
                async with session.post(f"{url}/v1/messages", json=_PROMPT, headers=_KEY) as warm:
                    await warm.read()
                model = [await _model_first_word(session, url) for _ in range(turns)]
                gateway_s = [await _gateway_first_word(session, f"{base}/c-{n}") for n in range(turns)]
                kafka = [await _kafka_first_word(chat, n) for n in range(turns)]
    own = percentile(model, 0.5)
    return {
        "model alone, p50 ms": round(own * 1000, 1),
        "gateway over the model, p50 ms": round((percentile(gateway_s, 0.5) - own) * 1000, 1),
        "gateway over the model, p99 ms": round((percentile(gateway_s, 0.99) - percentile(model, 0.99)) * 1000, 1),
        "Kafka client over the model, p50 ms": round((percentile(kafka, 0.5) - own) * 1000, 1),
    }


_KEY = {"x-api-key": "simulated", "anthropic-version": "2023-06-01"}
_PROMPT = {
    "model": "claude-haiku-4-5",
    "max_tokens": 1024,
    "stream": True,
    "messages": [{"role": "user", "content": "Is SKU001 in stock?"}],
}


async def _model_first_word(session: aiohttp.ClientSession, url: str) -> float:
    began = time.monotonic()
    async with session.post(f"{url}/v1/messages", json=_PROMPT, headers=_KEY) as response:
        async for line in response.content:
            if b"text_delta" in line:
                first = time.monotonic() - began
                await response.read()
                return first
    raise AssertionError("no word")


async def _gateway_first_word(session: aiohttp.ClientSession, conversation: str) -> float:
    async with session.get(f"{conversation}/events") as events:
        await events.content.readuntil(b"event: open")
        began = time.monotonic()
        async with session.post(f"{conversation}/turns", json={"text": "Is SKU001 in stock?", "stream": True}) as sent:
            assert sent.status == 202
        await events.content.readuntil(b"event: delta")
        first = time.monotonic() - began
        await events.content.readuntil(b"event: done")
        return first


async def _kafka_first_word(chat: ChatClient, number: int) -> float:
    began, first = time.monotonic(), 0.0
    async for heard in chat.stream(new_turn("Is SKU001 in stock?", conversation_id=f"k-{number}")):
        if isinstance(heard, Delta) and not first:
            first = time.monotonic() - began
    return first


async def place(cluster: Cluster) -> Figures:
    """A spike that one worker cannot keep up with: how long turns were told to wait when accepted, and how long they did."""
    told: dict[str, float | None] = {}
    waited: dict[str, float] = {}
    with model_api(1000.0) as url:
        async with workers(cluster, url, 2, concurrency=20), gateways(cluster) as [gateway]:
            base = f"http://127.0.0.1:{port_of(gateway)}/v1/conversations"
            feed = Feed(cluster, cluster.topics.replies, lambda record: _note(waited, record.value))
            await feed.start()
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                asking = []
                traffic = Traffic.spike(5.0, 100.0, opens_s=5.0, climbs_s=10.0, holds_s=25.0, falls_s=0.0, rests_s=0.0)
                began = time.monotonic()
                for visit in Customers(conversations=50_000).visits(traffic):
                    await asyncio.sleep(max(0.0, began + visit.at - time.monotonic()))
                    asking.append(asyncio.create_task(_told(session, base, visit, told)))
                await asyncio.gather(*asking)
                await _until(lambda: len(waited) >= len(told), 120.0)
            await feed.stop()
    known = [(float(said), waited[turn]) for turn, said in told.items() if said is not None and turn in waited]
    errors = [said - real for said, real in known if real > 1.0]
    shares = [abs(said - real) / real for said, real in known if real > 1.0]
    return {
        "turns": len(told),
        "answered": len(waited),
        "with an estimate": len(known),
        "that waited for more than 1 s": len(errors),
        "the longest waited s": round(max(waited.values()), 1),
        "error, median s": round(percentile(errors or [0.0], 0.5), 2),
        "error in either direction, p50": f"{percentile(shares or [0.0], 0.5):.0%}",
        "error in either direction, p90": f"{percentile(shares or [0.0], 0.9):.0%}",
        "told 0 and waited for more than 1 s": sum(said == 0 and real > 1 for said, real in known),
        "told more than 1 s and waited less": sum(said > 1 and real <= 1 for said, real in known),
    }


async def _told(session: aiohttp.ClientSession, base: str, visit: Visit, told: dict[str, float | None]) -> None:
    async with session.post(f"{base}/{visit.conversation_id}/turns", json={"text": visit.said[0]}) as response:
        answer = await response.json()
        if response.status == 202:
            told[answer["turn_id"]] = (answer["place"] or {}).get("estimated_wait_s")


def _note(waited: dict[str, float], value: bytes) -> None:
    reply = orjson.loads(value)
    waited[reply["turn_id"]] = reply["queued_ms"] / 1000


MEASUREMENTS: dict[str, Callable[[Cluster], Coroutine[None, None, Figures]]] = {
    "connections": lambda cluster: listening(cluster, socket=False),
    "websockets": lambda cluster: listening(cluster, socket=True),
    "gateways": lambda cluster: listening(cluster, socket=False, count=3),
    "posts": posts,
    "first-word": first_word,
    "place": place,
}


async def main(names: list[str]) -> None:
    """Each measurement on topics of its own."""
    with EmbeddedKafka.running() as kafka:
        for name in names or MEASUREMENTS:
            cluster = Cluster(kafka=kafka.bootstrap_servers, topic_prefix=f"front-{name}-{os.getpid()}")
            await apply_topics(cluster, TopicSettings())
            figures = await MEASUREMENTS[name](cluster)
            console.print(f"[bold]{name}[/]")
            for figure, value in figures.items():
                console.print(f"  {figure:42} {value:>12,}" if not isinstance(value, str) else f"  {figure:42} {value}")


if __name__ == "__main__":
    if sys.argv[1:] == ["echo"]:
        uvloop.run(echo())
    else:
        uvloop.run(main(sys.argv[1:]))
