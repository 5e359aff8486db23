"""The whole way measured: real Kafka, worker processes, the real SDK over HTTP to the simulated model API, SQLite.

    python -m benchmarks.whole [sustained] [idle] [sdk] [memory]

Every figure is of one run on this machine, with load on loopback only; each measurement ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path

import orjson
import psutil
import uvloop
from aiokafka import AIOKafkaProducer, ConsumerRecord
from anthropic import AsyncAnthropic, DefaultAioHttpClient
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from rich.console import Console

from forebay.producers import ChatClient, TopicSettings, apply_topics, new_turn
from forebay.producers.feed import Feed
from forebay.rehearsal.delivery_check import DeliveryCheck
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, decode_reply, encode
from forebay.telemetry.percentile import percentile

console = Console(width=120)

Figures = dict[str, float | int | str]


@contextlib.contextmanager
def model_api(latency_ms: float, jitter: float = 0.5) -> Iterator[str]:
    """A simulated model API in a process of its own; yields its address."""
    command = ["model-api", "--port", "0", "--latency-ms", str(latency_ms), "--jitter", str(jitter)]
    process = subprocess.Popen([sys.executable, "-m", "forebay.cli", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[3]
    finally:
        process.terminate()
        process.wait(10)


@contextlib.asynccontextmanager
async def workers(cluster: Cluster, url: str, count: int, **settings: object) -> AsyncIterator[list[WorkerProcess]]:
    """Worker processes that share one SQLite file, ready to work."""
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        environment = {
            "FOREBAY_KAFKA": cluster.kafka,
            "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
            "FOREBAY_STORE": f"sqlite:///{folder}/conversations.db",
            "ANTHROPIC_API_KEY": "simulated",
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),  # where an assistant of the benchmarks is
            "ANTHROPIC_BASE_URL": url,
            **{f"FOREBAY_{name.upper()}": str(value) for name, value in settings.items()},
        }
        started = [WorkerProcess(f"worker-{number}", Path(folder), environment) for number in range(count)]
        try:
            await asyncio.gather(*(worker.ready() for worker in started))
            yield started
        finally:
            for worker in started:
                worker.close()


def cpu_s(process: WorkerProcess) -> float:
    """User and system seconds that a process has used."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


async def sustained(cluster: Cluster) -> Figures:
    """A backlog of turns of many conversations, drained by two workers: turns a second, and every promise counted."""
    turns, conversations, check, marks = 24_000, 4_000, DeliveryCheck(), list[tuple[float, int]]()

    def read(record: ConsumerRecord) -> None:
        check.reply_read(decode_reply(record.value), record.value, time.monotonic())
        marks.append((time.monotonic(), check.replied))

    feed = Feed(cluster, cluster.topics.replies, read)
    await feed.start()
    await backlog(cluster, turns, conversations, check)
    with model_api(300.0) as url:
        async with workers(cluster, url, 2, concurrency=300) as started:
            cpu = [cpu_s(worker) for worker in started]
            while check.replied < turns and (not marks or time.monotonic() - marks[0][0] < 90):
                await asyncio.sleep(0.1)
            spent = sum(cpu_s(worker) for worker in started) - sum(cpu)
    await feed.stop()
    steady = [mark for mark in marks if 0.1 * turns <= mark[1] <= 0.9 * turns]
    verdict = check.verdict()
    return {
        "turns/s (two workers, steady part)": round((steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0])),
        "worker CPU ms/turn": round(spent / turns * 1000, 3),
        "lost": verdict.lost,
        "out of order": verdict.out_of_order,
        "duplicates": verdict.duplicates,
    }


async def backlog(
    cluster: Cluster, turns: int, conversations: int, check: DeliveryCheck | None = None, seed: int = 5
) -> None:
    """Puts turns into the topic before anybody reads them."""
    rng = random.Random(seed)
    producer = AIOKafkaProducer(max_batch_size=131_072, linger_ms=5, **cluster.connection())
    async with producer:
        sent = []
        for number in range(turns):
            turn = new_turn(
                f"Is article {number} in stock?",
                conversation_id=f"c-{rng.randrange(conversations):05d}",
                expires_at=FAR,
            )
            if check is not None:
                check.turn_sent(turn.conversation_id, turn.turn_id, time.monotonic())
            key = turn.conversation_id.encode()
            sent.append(await producer.send(cluster.topics.requests, encode(turn, unset=False), key=key))
            if len(sent) == 10_000:
                await asyncio.gather(*sent)
                sent.clear()
        await asyncio.gather(*sent)


FAR = "2099-01-01T00:00:00Z"


async def idle(cluster: Cluster) -> Figures:
    """20 turns a second: from producing a turn to reading its reply, over the time spent in the model.

    Beside it, in the same run, what Kafka itself takes here: a bare aiokafka echo of the same records.
    """
    over_ms: list[float] = []
    with model_api(50.0) as url:
        async with workers(cluster, url, 1), ChatClient(cluster) as chat:

            async def ask(number: int) -> None:
                began = time.perf_counter()
                reply = await chat.ask(f"Is article {number} in stock?")
                over_ms.append((time.perf_counter() - began) * 1000 - reply.model_ms)

            await asyncio.gather(*(ask(number) for number in range(20)))
            over_ms.clear()
            await steadily(ask, 600)
    floor_ms = await echoed(cluster)
    return {
        "over the model, p50 ms": round(percentile(over_ms, 0.5), 2),
        "p90 ms": round(percentile(over_ms, 0.9), 2),
        "p99 ms": round(percentile(over_ms, 0.99), 2),
        "largest ms": round(max(over_ms), 1),
        "bare echo, p50 ms": round(percentile(floor_ms, 0.5), 2),
        "bare echo, p99 ms": round(percentile(floor_ms, 0.99), 2),
    }


async def steadily(ask: Callable[[int], Coroutine[None, None, None]], times: int) -> None:
    """20 a second, whether or not the last one is answered."""
    asked = []
    for number in range(times):
        asked.append(asyncio.create_task(ask(number)))
        await asyncio.sleep(0.05)
    await asyncio.gather(*asked)


async def echoed(cluster: Cluster) -> list[float]:
    """Milliseconds for a record to go through one topic, a process that only copies it, and another topic."""
    command = [sys.executable, "-m", "benchmarks.whole", "echo", cluster.kafka, cluster.topic_prefix]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    heard, took_ms = dict[bytes, asyncio.Event](), list[float]()
    feed = Feed(cluster, cluster.topics.handoffs, lambda record: heard[record.value].set())
    await feed.start()
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **cluster.connection())
    async with producer:
        assert process.stdout is not None
        await process.stdout.readline()

        async def ask(number: int) -> None:
            value = b"%d" % number
            heard[value] = asyncio.Event()
            began = time.perf_counter()
            await producer.send_and_wait(cluster.topics.deltas, value, key=value)
            await heard[value].wait()
            took_ms.append((time.perf_counter() - began) * 1000)

        await steadily(ask, 300)
    await feed.stop()
    process.terminate()
    await process.wait()
    return took_ms


async def echo(kafka: str, prefix: str) -> None:
    """Copies records from one topic to another with bare aiokafka, until SIGTERM."""
    cluster = Cluster(kafka=kafka, topic_prefix=prefix)
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **cluster.connection())
    async with producer:

        def copy(record: ConsumerRecord) -> None:
            asyncio.ensure_future(producer.send_and_wait(cluster.topics.handoffs, record.value, key=record.key))  # noqa: RUF006

        feed = Feed(cluster, cluster.topics.deltas, copy)
        await feed.start()
        print("ready", flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        await feed.stop()


async def sdk(cluster: Cluster) -> Figures:
    """A worker's CPU for each turn beside a bare loop that makes the same calls with the same SDK and transport.

    The worker's assistant has all that a turn without tools may meet.
    """
    turns, concurrency = 8_000, 300
    ratios, bare_ms, worker_ms, parsed_ms = [], [], [], []
    with model_api(300.0) as url:
        for run in range(3):
            own = cluster.model_copy(update={"topic_prefix": f"sdk{run}"})
            await apply_topics(own, TopicSettings(topic_partitions=4))
            check, marks = DeliveryCheck(), list[tuple[int, float]]()
            await backlog(own, turns, turns, check)
            feed = Feed(own, own.topics.replies, partial(read_into, check))
            await feed.start()
            everything = "benchmarks.bench_assistant:assistant"
            async with workers(own, url, 1, concurrency=concurrency, assistant=everything) as (worker,):
                while check.replied < turns:
                    marks.append((check.replied, cpu_s(worker)))
                    await asyncio.sleep(0.05)
            await feed.stop()
            steady = [mark for mark in marks if 0.1 * turns <= mark[0] <= 0.9 * turns]
            worker_ms.append((steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0]) * 1000)
            bare_ms.append(bare(url, turns, concurrency, "raw"))
            parsed_ms.append(bare(url, turns, concurrency, "parsed"))
            ratios.append(worker_ms[-1] / bare_ms[-1])
    return {
        "worker CPU ms/turn": round(statistics.median(worker_ms), 3),
        "bare loop, raw responses, CPU ms/call": round(statistics.median(bare_ms), 3),
        "bare loop, parsed responses, CPU ms/call": round(statistics.median(parsed_ms), 3),
        "ratio to raw": round(statistics.median(ratios), 2),
        "ratio to parsed": round(statistics.median(w / p for w, p in zip(worker_ms, parsed_ms, strict=True)), 2),
    }


def read_into(check: DeliveryCheck, record: ConsumerRecord) -> None:
    check.reply_read(decode_reply(record.value), record.value, time.monotonic())


def bare(url: str, calls: int, concurrency: int, how: str) -> float:
    """CPU milliseconds for each call of a loop in a process of its own."""
    environment = {**os.environ, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "simulated"}
    command = [sys.executable, "-m", "benchmarks.whole", "bare", str(calls), str(concurrency), how]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return float(printed)


async def bare_loop(calls: int, concurrency: int, how: str) -> None:
    """The same calls as a worker makes, and nothing else; prints CPU milliseconds a call of its middle part."""
    client = AsyncAnthropic(max_retries=0, http_client=DefaultAioHttpClient())
    system = "You are the customer assistant of an online shop. " * 7
    permits, done, marks = asyncio.Semaphore(concurrency), 0, list[tuple[int, float]]()

    async def call(number: int) -> None:
        nonlocal done
        async with permits:
            asked: MessageCreateParamsNonStreaming = {
                "model": "claude-haiku-4-5",
                "max_tokens": 1024,
                "system": system,
                "messages": [{"role": "user", "content": f"Is article {number} in stock?"}],
            }
            if how == "raw":
                raw = await client.messages.with_raw_response.create(**asked)
                orjson.loads(await raw.read())
            else:
                await client.messages.create(**asked)
        done += 1
        if done % 100 == 0:
            marks.append((done, time.process_time()))

    await asyncio.gather(*(call(number) for number in range(calls)))
    await client.close()
    steady = [mark for mark in marks if 0.1 * calls <= mark[0] <= 0.9 * calls]
    print((steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0]) * 1000)


async def memory(cluster: Cluster) -> Figures:
    """The largest memory of a worker in 15 s of work, with few and with many turns waiting in the topic."""
    peaks = {}
    with model_api(300.0) as url:
        for waiting in (5_000, 500_000):
            own = cluster.model_copy(update={"topic_prefix": f"memory{waiting}"})
            await apply_topics(own, TopicSettings(topic_partitions=4))
            await backlog(own, waiting, max(1_000, waiting // 5))
            async with workers(own, url, 1) as (worker,):
                process, peak, ends = psutil.Process(worker.pid), 0, time.monotonic() + 15
                while time.monotonic() < ends:
                    peak = max(peak, process.memory_info().rss)
                    await asyncio.sleep(0.1)
            peaks[waiting] = peak / 1e6
    few, many = peaks.values()
    return {"MB with 5,000 waiting": round(few), "MB with 500,000 waiting": round(many), "ratio": round(many / few, 2)}


MEASUREMENTS = {"sustained": sustained, "idle": idle, "sdk": sdk, "memory": memory}


async def measure(kafka: EmbeddedKafka, names: list[str]) -> None:
    # A full collection of this process would show as an outlier of 70 ms in the latencies it measures.
    gc.collect()
    gc.freeze()
    for name in names:
        cluster = Cluster(kafka=kafka.bootstrap_servers, topic_prefix=f"bench-{name}")
        await apply_topics(cluster, TopicSettings(topic_partitions=12))
        figures = await MEASUREMENTS[name](cluster)
        console.print(f"[bold]{name}[/]: " + "; ".join(f"{label} {figure}" for label, figure in figures.items()))


def main() -> None:
    if sys.argv[1:2] == ["bare"]:
        return uvloop.run(bare_loop(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
    if sys.argv[1:2] == ["echo"]:
        return uvloop.run(echo(sys.argv[2], sys.argv[3]))
    names = sys.argv[1:] or list(MEASUREMENTS)
    if unknown := set(names) - set(MEASUREMENTS):
        raise SystemExit(f"no such measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    with EmbeddedKafka.running() as kafka:
        return uvloop.run(measure(kafka, names))


if __name__ == "__main__":
    main()
