"""`python -m benchmarks.deadletters [LETTERS...]`: how fast dead letters are listed and replayed, in how much memory.

Every figure is of the command as operators run it: a process of its own, the start of Python included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson
import uvloop
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster, Failure, Headers, Reason, dead_letter_headers

from . import machine

LETTERS = (10_000, 100_000, 400_000)
PARTITIONS = 12
CONVERSATIONS = 5_000
TEXT = "My order arrived without the charger. Can you send one, or should I return the whole package?"
RUNS = 5


class Used(NamedTuple):
    """What one command took."""

    seconds: float
    peak_mb: float
    printed: str


def command(cluster: Cluster, *words: str) -> Used:
    """Runs ``forebay dlq`` with these words. Raises CalledProcessError."""
    environment = {**os.environ, "FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}
    with tempfile.TemporaryFile() as printed:
        began = time.perf_counter()
        arguments = [sys.executable, "-m", "forebay.cli", "dlq", *words]
        process = subprocess.Popen(
            arguments, env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, arguments)
        printed.seek(0)
        return Used(took, usage.ru_maxrss / 1024, printed.read().decode())


def letters(count: int) -> Iterator[tuple[int, bytes, bytes, int, Headers]]:
    """Partition, key, value, timestamp in milliseconds and headers of each, as a worker would have written them."""
    began = datetime.now(UTC) - timedelta(hours=24)
    for number in range(count):
        conversation, at = f"c-{number % CONVERSATIONS:04d}", began + timedelta(hours=24) * number / count
        turn = {"turn_id": f"t-{number:06d}", "conversation_id": conversation, "text": TEXT, "tenant": "shop-eu"}
        rare = number % 5_000 == 17
        headers = dead_letter_headers(
            (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),),
            Failure(Reason.HANDLER_ERROR if rare else Reason.RETRIES_EXHAUSTED, "529 overloaded_error: Overloaded", 6),
            topic="chat.requests",
            partition=number % CONVERSATIONS % PARTITIONS,
            offset=number,
            timestamp=int(at.timestamp() * 1000),
            failed_at=at,
            worker="worker-1",
        )
        yield (
            number % CONVERSATIONS % PARTITIONS,
            conversation.encode(),
            orjson.dumps(turn | {"sent_at": at}),
            int(at.timestamp() * 1000),
            headers,
        )


async def fill(cluster: Cluster, count: int) -> None:
    """Creates the topics and writes the dead letters."""
    await apply_topics(cluster, TopicSettings(topic_partitions=PARTITIONS))
    producer = AIOKafkaProducer(acks="all", linger_ms=5, max_batch_size=128 * 1024, **cluster.connection())
    async with producer:
        for partition, key, value, timestamp, headers in letters(count):
            sent = await producer.send(
                cluster.topics.dead_letters,
                value,
                key=key,
                partition=partition,
                timestamp_ms=timestamp,
                headers=list(headers),
            )
        await producer.flush()
        await sent


def measure(cluster: Cluster, count: int, console: Console) -> dict[str, str]:
    """The figures of one number of dead letters."""
    uvloop.run(fill(cluster, count))
    console.print(f"[dim]{count:,} dead letters written")
    page = [command(cluster, "list") for _ in range(RUNS)]
    rare = command(cluster, "list", "--reason", "handler_error")
    counted = command(cluster, "replay", "--all", "--dry-run")
    replayed = command(cluster, "replay", "--all", "--yes", "--json")
    report = json.loads(replayed.printed)
    assert report["replayed"] == count
    after = [command(cluster, "list") for _ in range(RUNS)]
    again = command(cluster, "replay", "--all", "--yes", "--json")
    assert json.loads(again.printed)["replayed"] == 0
    return {
        "first page of list, s (median)": f"{statistics.median(one.seconds for one in page):.2f}",
        "the same when all are replayed, s": f"{statistics.median(one.seconds for one in after):.2f}",
        "list of a rare reason, read through, s": f"{rare.seconds:.2f}",
        "replay --dry-run, s": f"{counted.seconds:.2f}",
        "replay, whole command, s": f"{replayed.seconds:.2f}",
        "replayed a second": f"{count / report['seconds']:,.0f}",
        "peak memory of list, MB": f"{max(one.peak_mb for one in page):.0f}",
        "peak memory of replay, MB": f"{replayed.peak_mb:.0f}",
        "replay again, nothing left, s": f"{again.seconds:.2f}",
    }


def main() -> None:
    """Measures and prints a table."""
    counts = tuple(map(int, sys.argv[1:])) or LETTERS
    console, found = Console(), dict[int, dict[str, str]]()
    with EmbeddedKafka.running() as kafka:
        for count in counts:
            found[count] = measure(Cluster(kafka=kafka.bootstrap_servers, topic_prefix=f"dlq{count}"), count, console)
    table = Table("", *(f"{count:,} letters" for count in counts))
    for label in found[counts[0]]:
        table.add_row(label, *(figures[label] for figures in found.values()))
    console.print(table)
    console.print(f"{machine.machine()}. {machine.versions()}.")


if __name__ == "__main__":
    main()
