"""`forebay status` at a real Kafka: what it sees of workers that work, break, leave and never were."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from forebay.cli.status_screen import document
from forebay.operations import DeadLetters, Filter
from forebay.operations.fleet_status import FleetStatus, FleetStatusReader
from forebay.producers import ChatClient, TopicSettings, apply_topics
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.child_process import free_port
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster, ClusterError
from forebay.workers.engine.worker import Worker
from tests.pages import ROOT, Page

from .conftest import Fleet, until
from .test_command_line import forebay

GROUP = "forebay-workers"


def reading(cluster: Cluster) -> FleetStatusReader:
    return FleetStatusReader(cluster, GROUP, 120.0)


async def seen(reader: FleetStatusReader, holds: Any) -> FleetStatus:
    """The first look at which that is so."""
    async with asyncio.timeout(30):
        while not holds(status := await reader.read()):
            await asyncio.sleep(0.2)
    return status


def answered(status: FleetStatus) -> int:
    return sum(worker.outcomes.get("answered", 0) for worker in status.workers)


def codes(status: FleetStatus) -> list[str]:
    return [finding.code for finding in status.findings]


def at(cluster: Cluster) -> dict[str, str]:
    return {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}


async def test_a_fleet_that_works_then_is_killed(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    async with reading(cluster) as reader:
        assert codes(await reader.read()) == ["no-workers"], "a cluster without a group is no error"
        workers = [await fleet.start(), await fleet.start()]
        await asyncio.gather(*(chat.ask("hello", conversation_id=f"c-{number}") for number in range(30)))
        status = await seen(reader, lambda status: status.lag == 0 and not status.findings and answered(status) == 30)
        told = document(status)
        assert told["healthy"]
        assert told["turns"]["waiting"] == told["turns"]["in_flight"] == 0
        assert {one["worker"] for one in told["partitions"]} == {worker.name for worker in workers}
        assert [one["state"] for one in told["workers"]] == ["working", "working"]
        assert told["permits"] == {"now": 100, "most": 100}
        await fleet.crash(workers[0])
        status = await seen(reader, lambda status: "silent-worker" in codes(status))
        assert workers[0].name in status.findings[0].text


async def test_turns_that_no_worker_has_ever_seen_are_counted_and_their_age_is_read_from_kafka(
    cluster: Cluster,
) -> None:
    written = int((time.time() - 70) * 1000)
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        for number in range(20):
            turn = {"turn_id": f"t-{number}", "conversation_id": f"c-{number}", "text": "hello"}
            at_ms = written + number * 3_000
            topic, key = cluster.topics.requests, turn["conversation_id"].encode()
            await producer.send_and_wait(topic, json.dumps(turn).encode(), key=key, timestamp_ms=at_ms)
    async with FleetStatusReader(cluster, "never-seen", 120.0) as reader:
        status = await reader.read()
    assert (status.waiting, status.in_flight, status.lag) == (20, 0, 20)
    assert status.oldest_waiting_s == pytest.approx(70, abs=10)
    assert codes(status) == ["no-workers", "queue-growing"]
    assert document(status)["unowned_partitions"] == [0, 1, 2]


async def test_an_outage_and_dead_letters_which_are_gone_when_they_were_replayed(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    await fleet.start(breaker_failures=3, breaker_open_s=0.5)
    model_api.add_fault("context_too_long", match="voucher")
    assert (await chat.ask("Where is my voucher?")).outcome == "failed"
    model_api.clear_faults()
    async with reading(cluster) as reader:
        status = await seen(reader, lambda status: "dead-letters" in codes(status))
        assert status.dead_letters.recent == {"rejected_by_model": 1}
        async with DeadLetters(cluster) as dead:
            await dead.replay(await dead.plan(Filter()))
        status = await seen(reader, lambda status: status.lag == 0 and not status.findings)
        assert status.waiting == 0, "the mark of a transaction is no turn that waits"

        model_api.set_limits(outage="refuse")
        asked = [asyncio.create_task(chat.ask("hello", conversation_id=f"c-{number}")) for number in range(8)]
        status = await seen(reader, lambda status: "breaker-open" in codes(status))
        assert "anthropic/claude-haiku-4-5 at 1 of 1 workers" in status.findings[0].text
        model_api.set_limits(outage=None)
        await asyncio.gather(*asked)
        await seen(reader, lambda status: not [code for code in codes(status) if code != "rate-limited"])


@pytest.mark.takes(10)
async def test_where_kafka_goes_away_it_is_told_in_time_and_seen_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay.operations.fleet_status._ANSWER_S", 2.0)
    kafka = EmbeddedKafka(data=tmp_path / "kafka", port=free_port())
    kafka.start()
    try:
        cluster = Cluster(kafka=kafka.bootstrap_servers)
        await apply_topics(cluster, TopicSettings(topic_partitions=3))
        async with reading(cluster) as reader:
            before = await seen(reader, lambda status: True)
            kafka.stop()
            began = time.monotonic()
            with pytest.raises(ClusterError, match="has not answered for 2 s"):
                await reader.read()
            assert time.monotonic() - began < 15, "aiokafka by itself asks for 40 s"
            assert codes(before.without_kafka(2.0))[0] == "kafka-away"
            kafka.start()
            async with asyncio.timeout(30):
                while True:
                    with suppress(ClusterError):
                        assert codes(await reader.read()) == ["no-workers"]
                        break
    finally:
        kafka.stop()


async def test_the_documented_fields_are_those_there_are(cluster: Cluster, fleet: Fleet, model_api: ModelApi) -> None:
    worker: Worker = await fleet.start()
    async with reading(cluster) as reader:
        told = document(
            await seen(reader, lambda status: status.workers and status.partitions[0].worker == worker.name)
        )
    text = (ROOT / "docs" / "runbook.md").read_text().partition("## Status as JSON")[2]
    named = set(re.findall(r"`(\w+)(?:\[\])?`", text))
    fields = set(told)
    for part in ("turns", "permits", "spending", "dead_letters"):
        fields |= set(told[part])
    for part in ("workers", "models", "partitions"):
        fields |= set(told[part][0])
    assert fields <= named, fields - named
    assert Page(ROOT / "docs" / "runbook.md").anchors() >= {"status-as-json"}


@pytest.fixture
def nobody(kafka: EmbeddedKafka) -> dict[str, str]:
    return {"FOREBAY_KAFKA": kafka.bootstrap_servers, "FOREBAY_TOPIC_PREFIX": "nobody"}


def test_what_a_person_can_do_wrong_gets_one_line(nobody: dict[str, str], tmp_path: Path) -> None:
    for words, environment, status, says in (
        (["status"], {"FOREBAY_KAFKA": "127.0.0.1:1"}, 1, "Kafka at 127.0.0.1:1 does not answer"),
        (["status"], nobody, 1, "has no topic nobody.workers, nobody.commands: create them"),
        (["status", "--watch", "--json"], {}, 2, "--watch goes with neither --json nor --check"),
        (["status", "--every", "0"], {}, 2, "--every"),
        (["status"], {"FOREBAY_TURN_TTL_S": "soon"}, 2, "FOREBAY_TURN_TTL_S='soon'"),
    ):
        done = forebay(*words, cwd=tmp_path, **environment)
        assert (done.returncode, done.stdout) == (status, ""), done
        assert says in done.stderr
        assert "Traceback" not in done.stderr


async def test_the_command_prints_once_where_there_is_no_terminal(cluster: Cluster, tmp_path: Path) -> None:
    printed = await asyncio.to_thread(forebay, "status", cwd=tmp_path, COLUMNS="80", **at(cluster))
    assert printed.returncode == 0, printed.stderr
    assert "✗ No workers: No worker reports: nothing is answered." in printed.stdout
    assert all(len(line) <= 80 for line in printed.stdout.splitlines())
    told = await asyncio.to_thread(forebay, "status", "--json", "--check", cwd=tmp_path, **at(cluster))
    assert told.returncode == 1, "something severe is wrong"
    assert json.loads(told.stdout)["findings"][0]["code"] == "no-workers"


async def test_on_a_terminal_it_refreshes_until_ctrl_c(cluster: Cluster, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "forebay.cli", "status", "--every", "0.5",
        cwd=tmp_path, env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **at(cluster)},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = bytearray()
    asyncio.get_running_loop().add_reader(ours, lambda: said.extend(_read(ours)))
    try:
        await until(lambda: said.count(b"No workers") >= 3 or process.returncode is not None)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 60) == 0, said.decode(errors="replace")
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        if process.returncode is None:
            process.kill()
    assert b"\x1b[?1049h" in said, "on a screen of its own, so that the scrollback stays"
    assert b"Traceback" not in said


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other side is closed
        return b""
