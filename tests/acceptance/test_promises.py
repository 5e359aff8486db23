"""The promises of the contract, with real processes that really die."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Cluster

from .conftest import Customers, Spawn


@pytest.mark.takes(14)
async def test_a_killed_worker_loses_nothing(spawn: Spawn, customers: Customers, model_api: ModelApi) -> None:
    doomed, other = spawn(), spawn()
    await asyncio.gather(doomed.ready(), other.ready())
    await customers.send(2_000, conversations=100)
    await customers.replied(500)
    doomed.kill()
    in_flight = 50
    await customers.all_replied()
    verdict = customers.check.verdict()
    assert verdict.kept, verdict
    assert verdict.answered == 2_000
    assert model_api.stats().begun <= 2_000 + in_flight
    assert other.stop() == 0


async def test_sigterm_finishes_what_is_in_flight(spawn: Spawn, customers: Customers, model_api: ModelApi) -> None:
    first = spawn(concurrency=20)
    await first.ready()
    await customers.send(300, conversations=60)
    await customers.replied(40)
    assert await asyncio.to_thread(first.stop) == 0
    begun = model_api.stats().begun
    assert begun < 300
    await customers.replied(begun)  # whatever was begun was answered and published before the exit
    second = spawn(concurrency=20)
    await second.ready()
    await customers.all_replied()
    verdict = customers.check.verdict()
    assert verdict.kept, verdict
    assert verdict.repeats == 0, "everything answered was committed before the exit"
    assert model_api.stats().begun == 300


async def test_sigterm_does_not_wait_for_ever(spawn: Spawn, customers: Customers, model_api: ModelApi) -> None:
    model_api.add_fault("hang")
    worker = spawn(drain_s=1)
    await worker.ready()
    await customers.send(5, conversations=5)
    async with asyncio.timeout(20):
        while model_api.stats().begun < 5:
            await asyncio.sleep(0.02)
    assert await asyncio.to_thread(worker.stop, 10) == 0
    model_api.clear_faults()
    spawn()
    await customers.all_replied()
    assert customers.check.verdict().kept


async def test_health_and_metrics(spawn: Spawn, customers: Customers, model_api: ModelApi) -> None:
    worker = spawn()
    url = await worker.ready()
    await customers.send(10, conversations=10)
    await customers.all_replied()

    def get(path: str) -> str:
        with urllib.request.urlopen(url + path) as response:
            return str(response.read().decode())

    assert await asyncio.to_thread(get, "/livez") == "ok"
    assert await asyncio.to_thread(get, "/readyz") == "ok"
    metrics = await asyncio.to_thread(get, "/metrics")
    assert 'forebay_turns_total{outcome="answered"} 10.0' in metrics
    assert "forebay_partitions_owned 3.0" in metrics
    worker.signal(signal.SIGTERM)
    await asyncio.to_thread(worker.stop)
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {"worker.started", "worker.stopping", "worker.drained", "worker.stopped"} <= {
        line["event"] for line in lines
    }


async def test_the_commit_reaches_the_end(
    spawn: Spawn, customers: Customers, model_api: ModelApi, cluster: Cluster
) -> None:
    worker = spawn()
    await worker.ready()
    await customers.send(50, conversations=10)
    await customers.all_replied()
    await asyncio.to_thread(worker.stop)
    admin = AIOKafkaAdminClient(**cluster.connection())
    await admin.start()
    committed = await admin.list_consumer_group_offsets("forebay-workers")
    await admin.close()
    ours = {tp: point for tp, point in committed.items() if tp.topic == cluster.topics.requests}
    assert sum(point.offset for point in ours.values()) == 50
    assert all(point.metadata == "" for point in ours.values())
    assert set(ours) == {TopicPartition(cluster.topics.requests, number) for number in range(3)}
