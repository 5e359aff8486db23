"""The watchdog, with everything that it is there for caused for real: ``/livez`` names it, the log shows where, it ends."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from structlog.testing import capture_logs

from forebay.producers import ChatClient, TopicSettings, apply_topics, new_turn
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, SettingsError, Turn
from forebay.telemetry.health import Health
from forebay.workers.engine.alarms import Thresholds
from forebay.workers.engine.intake import IntakeTuning
from forebay.workers.engine.outbox import OutboundRecord, Outbox
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.worker import Worker
from forebay.workers.settings import WorkerSettings

from .conftest import read_topic, until, until_async
from .echo import Echo, Work, nothing

LITTLE = Thresholds(stack_s=1.5, loop_s=2.5, turn_s=1.0, commit_s=1.5, group_s=1.5)


@asynccontextmanager
async def working(cluster: Cluster, work: Work = nothing) -> AsyncIterator[tuple[Worker, str]]:
    """A worker of little patience that has joined its group, and the address of its health server."""
    worker = Worker(
        cluster,
        WorkerSettings(drain_s=1, call_timeout_s=0.1),
        Echo(work, permits=50),
        tuning=IntakeTuning(probe_s=0.3),
        thresholds=LITTLE,
    )
    health = Health(0, live=worker.live, ready=worker.ready, refresh=worker.refresh_metrics)
    port = await health.start()
    task = asyncio.create_task(worker.run())
    try:
        await until(lambda: task.done() or worker.ready() is None)
        yield worker, f"http://127.0.0.1:{port}"
    finally:
        worker.stop()
        await task
        await health.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def gauge(metrics: str, name: str) -> float:
    (line,) = [line for line in metrics.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


async def alarm(url: str, says: str) -> str:
    """Waits until /livez says this; returns the metrics of that moment."""

    async def raised() -> bool:
        status, body = await asyncio.to_thread(get, f"{url}/livez")
        return status == 503 and says in body

    await until_async(raised)
    return (await asyncio.to_thread(get, f"{url}/metrics"))[1]


async def well(url: str) -> None:
    """Waits until /livez is content."""

    async def content() -> bool:
        return await asyncio.to_thread(get, f"{url}/livez") == (200, "ok")

    await until_async(content)


async def test_a_blocked_loop_is_named_while_it_is_blocked(cluster: Cluster, chat: ChatClient) -> None:
    seen = threading.Event()

    def slow_tool_that_blocks() -> None:
        assert seen.wait(60)

    async def block(_: Turn, __: Permit) -> None:
        slow_tool_that_blocks()

    def look(url: str) -> tuple[tuple[int, str], tuple[int, str], str]:
        try:
            while (livez := get(f"{url}/livez"))[0] == 200:
                pass
            return livez, get(f"{url}/readyz"), get(f"{url}/metrics")[1]
        finally:
            seen.set()

    with capture_logs() as logs:
        async with working(cluster, block) as (_, url):
            blocked_before = gauge((await asyncio.to_thread(get, f"{url}/metrics"))[1], "forebay_loop_blocked_total")
            looking = asyncio.create_task(asyncio.to_thread(look, url))
            await chat.send(new_turn("Is it in stock?"))
            livez, readyz, metrics = await looking
            assert livez[0] == 503
            assert livez[1].startswith("loop_blocked: the event loop has stood still for ")
            assert readyz == (503, "the event loop has not answered for 0.5 s")
            assert gauge(metrics, 'forebay_alarm{code="loop_blocked"}') == 1
            assert gauge(metrics, "forebay_loop_blocked_total") > blocked_before
            assert gauge(metrics, "forebay_loop_lag_seconds") > LITTLE.loop_s
            await well(url)
            await until(lambda: any(line["event"] == "loop.blocked.over" for line in logs))
            metrics = (await asyncio.to_thread(get, f"{url}/metrics"))[1]
            assert gauge(metrics, 'forebay_alarm{code="loop_blocked"}') == 0
    assert any("in slow_tool_that_blocks" in line["stack"] for line in logs if line["event"] == "loop.blocked")


async def test_a_turn_that_never_ends_is_named(cluster: Cluster, chat: ChatClient) -> None:
    enough = asyncio.Event()

    async def tool_that_never_answers() -> None:
        await enough.wait()

    async def work(turn: Turn, _: Permit) -> None:
        if turn.text != "quick":
            await tool_that_never_answers()

    now = datetime.now(UTC)
    patient = new_turn("has an hour", conversation_id="c-1", expires_at=now + timedelta(hours=1))
    stuck = new_turn("has a second", conversation_id="c-2", expires_at=now + timedelta(seconds=1))
    with capture_logs() as logs:
        async with working(cluster, work) as (_, url):
            await chat.send_many([patient, stuck, new_turn("quick", conversation_id="c-3")])
            metrics = await alarm(url, f"turn_stuck: turn {stuck.turn_id} (partition ")
            assert gauge(metrics, 'forebay_alarm{code="turn_stuck"}') == 1
            assert gauge(metrics, "forebay_oldest_turn_in_flight_seconds") > LITTLE.turn_s
            enough.set()
            await well(url)
    (line,) = [line for line in logs if line["event"] == "turn.stuck"]
    assert (line["turn_id"], line["conversation_id"]) == (stuck.turn_id, "c-2")
    assert "in tool_that_never_answers" in line["stack"]
    assert len(await read_topic(cluster, cluster.topics.replies)) == 3


@pytest.mark.takes(22)
async def test_commits_that_the_broker_refuses(tmp_path: Path) -> None:
    """A broker that takes no completion maps, while one slow turn has others done behind it."""
    broker = EmbeddedKafka(data=tmp_path / "kafka", settings={"offset.metadata.max.bytes": "1"})
    broker.start()
    try:
        cluster = Cluster(kafka=broker.bootstrap_servers)
        await apply_topics(cluster, TopicSettings(topic_partitions=1))
        enough = asyncio.Event()

        async def work(turn: Turn, _: Permit) -> None:
            if turn.text == "slow":
                await enough.wait()

        async with working(cluster, work) as (worker, url), ChatClient(cluster) as chat:
            await chat.send_many([new_turn("slow", conversation_id="c-1"), new_turn("quick", conversation_id="c-2")])
            metrics = await alarm(url, "commits_frozen: turns are done, but no commit has succeeded for ")
            assert gauge(metrics, 'forebay_alarm{code="commits_frozen"}') == 1
            assert gauge(metrics, "forebay_commit_age_seconds") > LITTLE.commit_s
            await asyncio.to_thread(broker.stop, kill=True)
            await until(lambda: "Kafka does not answer" in (worker.ready() or ""))
            await well(url)  # a restart brings no Kafka back: that is readiness
            broker.settings = {}
            await asyncio.to_thread(broker.start)
            await until(lambda: worker.ready() is None)
            await until_async(partial(all_committed, worker))
            await well(url)
            enough.set()
    finally:
        broker.stop()


async def all_committed(worker: Worker) -> bool:
    return not worker._intake._partitions.uncommitted()


async def test_a_turn_that_was_lost_track_of_freezes_the_commit(
    cluster: Cluster, chat: ChatClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(self: Outbox, records: Sequence[OutboundRecord], acked: Callable[[], None]) -> None:
        """Takes records that are never sent."""

    monkeypatch.setattr(Outbox, "publish", lose)
    async with working(cluster) as (_, url):
        await chat.send(new_turn("Is it in stock?"))
        metrics = await alarm(url, "commits_frozen: for ")
        assert gauge(metrics, 'forebay_alarm{code="commits_frozen"}') == 1


@pytest.mark.takes(9)
async def test_a_worker_that_its_group_has_put_out(cluster: Cluster, chat: ChatClient) -> None:
    """aiokafka waits for an answer to a heartbeat that never comes, and does not notice."""
    enough = asyncio.Event()
    async with working(cluster) as (worker, url):
        coordinator = worker._intake._consumer._coordinator
        heartbeat = coordinator._do_heartbeat

        async def never_answered() -> bool:
            await enough.wait()
            return bool(await heartbeat())

        coordinator._do_heartbeat = never_answered
        metrics = await alarm(url, "left_group: the group's coordinator has not counted this worker among its members")
        assert worker._intake.partitions == [0, 1, 2], "it does not know"
        assert gauge(metrics, 'forebay_alarm{code="left_group"}') == 1
        assert gauge(metrics, "forebay_group_member") == 0
        enough.set()
        await well(url)
        await chat.send(new_turn("Is it in stock?"))

        async def replied() -> bool:
            return bool(await read_topic(cluster, cluster.topics.replies))

        await until_async(replied)
        await until_async(partial(all_committed, worker))


class Clinging(ConsumerRebalanceListener):  # type: ignore[misc]
    """Gives nothing up while it is told not to."""

    def __init__(self) -> None:
        self.clings = False
        self.enough = asyncio.Event()
        self.assigned = asyncio.Event()

    async def on_partitions_revoked(self, revoked: object) -> None:
        if self.clings:
            await self.enough.wait()

    async def on_partitions_assigned(self, assigned: object) -> None:
        self.assigned.set()


@asynccontextmanager
async def clinging(cluster: Cluster) -> AsyncIterator[Clinging]:
    """Another member of the group."""
    listener = Clinging()
    consumer = AIOKafkaConsumer(
        group_id="forebay-workers",
        partition_assignment_strategy=(StickyPartitionAssignor,),
        enable_auto_commit=False,
        heartbeat_interval_ms=500,
        rebalance_timeout_ms=120_000,
        **cluster.connection(),
    )
    await consumer.start()
    consumer.subscribe([cluster.topics.requests], listener=listener)
    try:
        await asyncio.wait_for(listener.assigned.wait(), 30)
        yield listener
    finally:
        listener.enough.set()
        await consumer.stop()


async def test_a_rebalance_that_does_not_end(cluster: Cluster) -> None:
    """A member gives its partitions up only after minutes, and the whole group waits for it."""
    async with working(cluster) as (worker, url), clinging(cluster) as clinger:
        await until(lambda: 0 < len(worker._intake.partitions) < 3)
        clinger.clings = True
        third = asyncio.create_task(joined_and_left(cluster))
        metrics = await alarm(url, "left_group: a rebalance has not ended for ")
        assert gauge(metrics, 'forebay_alarm{code="left_group"}') == 1
        assert gauge(metrics, "forebay_group_member") == 0
        clinger.enough.set()
        await third
        await well(url)


async def joined_and_left(cluster: Cluster) -> None:
    async with working(cluster):
        pass


@pytest.mark.takes(7)
async def test_a_member_without_a_partition_is_well(cluster: Cluster) -> None:
    async with (
        working(cluster) as first,
        working(cluster) as second,
        working(cluster) as third,
        working(cluster) as last,
    ):
        workers = [worker for worker, _ in (first, second, third, last)]
        await until(lambda: sorted(len(worker._intake.partitions) for worker in workers) == [0, 1, 1, 1])
        settled = time.monotonic()
        asked = 3 * LITTLE.group_s
        await until(lambda: time.monotonic() - settled > asked)
        assert [worker.live() for worker in workers] == [None] * 4
        assert [worker._intake.probe.answering.seconds(time.monotonic()) > asked for worker in workers] == [True] * 4


@pytest.mark.takes(10)
async def test_a_process_that_was_stopped_joins_again(cluster: Cluster, model_api: ModelApi, tmp_path: Path) -> None:
    """SIGSTOP for longer than the session, as a suspended machine or a frozen container: no loop was blocked."""
    admin = AIOKafkaAdminClient(**cluster.connection())
    await admin.start()

    async def members() -> int:
        (answer,) = await admin.describe_consumer_groups(["forebay-workers"])
        return len(answer.groups[0][5])

    async def alone() -> bool:
        return await members() == 0

    async def back() -> bool:
        return await members() == 1

    await until_async(alone)
    environment = {
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
        "FOREBAY_STORE": f"sqlite:///{tmp_path}/c.db",
    }
    worker = WorkerProcess("worker", tmp_path, environment)
    try:
        url = await worker.ready()
        worker.signal(signal.SIGSTOP)
        await until_async(alone)
        worker.signal(signal.SIGCONT)
        await until_async(back)
        await well(url)
        async with ChatClient(cluster) as chat:
            assert (await chat.ask("Is it in stock?")).outcome == "answered"
        await until(lambda: worker.logged("process.stalled", "stack") is not None)
        assert worker.logged("process.stalled", "worker") == worker.logged("worker.started", "worker")
        assert worker.logged("loop.blocked", "reason") is None
        assert get(f"{url}/livez") == (200, "ok")
        assert await asyncio.to_thread(worker.stop) == 0
    finally:
        worker.close()
        await admin.close()


async def test_a_health_port_in_use_is_one_clear_line() -> None:
    def answer() -> None:
        return None

    first = Health(0, live=answer, ready=answer, refresh=answer)
    port = await first.start()
    second = Health(port, live=answer, ready=answer, refresh=answer)
    with pytest.raises(SettingsError, match=rf"^FOREBAY_HEALTH_PORT={port}: .*: choose another, or 0 for a free one$"):
        await second.start()
    assert get(f"http://127.0.0.1:{port}/livez") == (200, "ok")
    await first.stop()
    with pytest.raises(urllib.error.URLError):
        get(f"http://127.0.0.1:{port}/livez")
