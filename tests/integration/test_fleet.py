"""The fleet as it is seen from outside, and obeys: states are true, pauses lose, double and reorder nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from forebay.operations import Fleet
from forebay.producers import ChatClient, new_turn
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, ClusterError, Command, Turn, WorkerState, encode
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.worker import Worker

from .conftest import Fleet as Workers
from .conftest import read_topic, until, until_async
from .echo import Echo, lasting
from .test_rebalance import committed_beyond, order_of, replied


class Gate:
    """Work that a turn can begin and not end before it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, _: Turn, permit: Permit) -> None:
        await self.open.wait()
        permit.give_back()
        await permit.regain()  # as a retry does: a pause must not keep a turn that has begun from its permit


@pytest_asyncio.fixture
async def seen(cluster: Cluster) -> AsyncIterator[Fleet]:
    async with Fleet(cluster) as fleet:
        yield fleet


def state_of(seen: Fleet, worker: Worker) -> WorkerState | None:
    return next((state for state in seen.workers(time.time()) if state.worker_id == worker.name), None)


def is_so(seen: Fleet, worker: Worker, **what: object) -> bool:
    """Whether the worker's latest state says so."""
    state = state_of(seen, worker)
    return state is not None and all(getattr(state, name) == value for name, value in what.items())


async def two_more_reports(seen: Fleet, worker: Worker) -> None:
    """What a paused worker would do against its orders, it would have done by then."""
    before = state_of(seen, worker)
    assert before is not None
    await until(
        lambda: (now := state_of(seen, worker)) is not None and (now.reported_at - before.reported_at).seconds >= 2
    )


def numbered(numbers: range, conversations: int) -> list[Turn]:
    return [new_turn(str(number), conversation_id=f"c-{number % conversations}") for number in numbers]


async def assert_each_once_in_order(cluster: Cluster, calls: Counter[str], turns: int) -> None:
    assert len(calls) == turns
    assert set(calls.values()) == {1}
    order = await order_of(cluster)
    assert sum(map(len, order.values())) == turns
    for conversation, numbers in order.items():
        assert numbers == sorted(numbers), f"{conversation} is out of order"


async def partition_of(cluster: Cluster) -> dict[str, int]:
    """The partition of each turn, by its text."""
    records = await read_topic(cluster, cluster.topics.requests)
    return {decoded.text: record.partition for record in records if (decoded := Turn.model_validate_json(record.value))}


async def test_a_worker_s_state_is_true(fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet) -> None:
    gate = Gate()
    echo = Echo(gate, permits=3)
    worker = await fleet.start(answers=echo, concurrency=10)
    await chat.send_many(numbered(range(40), 20))
    await until(lambda: is_so(seen, worker, in_flight=3, waiting=37))
    state = state_of(seen, worker)
    assert state is not None
    assert (state.state, state.trouble, state.group) == ("working", None, "forebay-workers")
    assert (state.concurrency, state.permits) == (10, 3)
    assert 0 < state.oldest_turn_s < 60
    places = await partition_of(cluster)
    for partition in state.partitions:
        mine = [text for text, place in places.items() if place == partition.partition]
        begun = sum(text in echo.calls for text in mine)
        assert (partition.in_flight, partition.waiting) == (begun, len(mine) - begun)
        assert partition.begun <= partition.position == len(mine)
        assert not partition.paused
    assert sum(partition.in_flight for partition in state.partitions) == 3
    gate.open.set()
    await until(lambda: is_so(seen, worker, in_flight=0, waiting=0, outcomes={"answered": 40}, oldest_turn_s=0.0))
    done = state_of(seen, worker)
    assert done is not None
    assert all(partition.begun == partition.position for partition in done.partitions)
    assert done.answered_a_second > 0


async def test_the_models_and_the_spending_of_a_worker(
    fleet: Workers, chat: ChatClient, model_api: ModelApi, seen: Fleet
) -> None:
    worker = await fleet.start()
    replies = [await chat.ask("Is it in stock?") for _ in range(3)]
    await until(lambda: is_so(seen, worker, outcomes={"answered": 3}))
    state = state_of(seen, worker)
    assert state is not None
    assert [(model.name, model.breaker) for model in state.models] == [("anthropic/claude-haiku-4-5", "closed")]
    assert state.spending.hour_usd == pytest.approx(sum(reply.cost_usd or 0.0 for reply in replies))
    assert state.spending.hour_usd > 0


async def test_who_leaves_is_gone_and_who_is_killed_falls_silent(fleet: Workers, cluster: Cluster, seen: Fleet) -> None:
    leaving, dying = await fleet.start(answers=Echo()), await fleet.start(answers=Echo())
    await until(lambda: state_of(seen, leaving) is not None and state_of(seen, dying) is not None)
    await fleet.stop(leaving)
    await until(lambda: state_of(seen, leaving) is None)
    assert not seen.silent(time.time())
    await fleet.crash(dying)
    await until(lambda: [state.worker_id for state in seen.silent(time.time())] == [dying.name])
    async with Fleet(cluster) as later:
        assert [state.worker_id for state in later.workers(time.time())] == [dying.name]
        assert later.workers(time.time() + 601) == ()


async def test_everything_is_paused_and_goes_on(
    fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet
) -> None:
    calls = Counter[str]()
    worker = await fleet.start(answers=Echo(lasting(0.02), calls=calls))
    await chat.send_many(numbered(range(3_000), 60))
    await until(lambda: len(calls) > 500)
    said = await seen.command("pause", issued_by="ada")
    assert (said.command, said.partition, said.issued_by) == ("pause", None, "ada")
    await until(lambda: is_so(seen, worker, state="paused", in_flight=0, waiting=0))
    begun = len(calls)
    assert begun < 3_000
    await chat.send_many(numbered(range(3_000, 4_000), 60))
    await two_more_reports(seen, worker)
    assert len(calls) == begun
    assert (worker.live(), worker.ready()) == (None, None)
    assert is_so(seen, worker, trouble=None)
    await seen.command("resume")
    await until_async(partial(replied, cluster, 4_000))
    await assert_each_once_in_order(cluster, calls, 4_000)


async def test_turns_that_have_begun_finish_in_a_pause(
    fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet
) -> None:
    gate = Gate()
    echo = Echo(gate, permits=3)
    worker = await fleet.start(answers=echo)
    await chat.send_many(numbered(range(20), 20))
    await until(lambda: is_so(seen, worker, in_flight=3, waiting=17))
    await seen.command("pause", worker=worker.name)
    await until(lambda: is_so(seen, worker, state="paused", in_flight=3, waiting=0))
    gate.open.set()
    await until(lambda: is_so(seen, worker, in_flight=0, outcomes={"answered": 3}))
    await seen.command("resume", worker=worker.name)
    await until_async(partial(replied, cluster, 20))
    await assert_each_once_in_order(cluster, echo.calls, 20)


@pytest.mark.takes(10)
async def test_one_partition_is_paused_and_the_others_go_on(
    fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet
) -> None:
    calls = Counter[str]()
    # As few turns in memory as there are permits: a paused partition must not take the room of the others.
    worker = await fleet.start(answers=Echo(lasting(0.01), calls=calls), concurrency=20, max_waiting=60)
    await chat.send_many(numbered(range(3_000), 60))
    await until(lambda: len(calls) > 300)
    await seen.command("pause", partition=1)
    places = await partition_of(cluster)
    others = {text for text, place in places.items() if place != 1}
    assert 0 < len(others) < 3_000
    await until(lambda: others <= calls.keys())
    await until(lambda: is_so(seen, worker, in_flight=0, waiting=0))
    assert is_so(seen, worker, state="working")
    state = state_of(seen, worker)
    assert state is not None
    assert [partition.partition for partition in state.partitions if partition.paused] == [1]
    assert len(calls) < 3_000
    await seen.command("resume", partition=1)
    await until_async(partial(replied, cluster, 3_000))
    await assert_each_once_in_order(cluster, calls, 3_000)


@pytest.mark.takes(14)
async def test_any_pauses_and_resumes_while_workers_come_and_go(
    fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet
) -> None:
    calls, draw = Counter[str](), random.Random(7)
    answers = Echo(lasting(0.01), calls=calls)
    first = await fleet.start(answers=answers, max_waiting=200, concurrency=20)
    await chat.send_many(numbered(range(6_000), 90))
    second: Worker | None = None
    for number in range(40):
        partition = draw.choice([None, 0, 1, 2])
        await seen.command(draw.choice(["pause", "resume"]), partition=partition)
        if number == 15:
            second = await fleet.start(answers=answers, max_waiting=200, concurrency=20)
        if number == 28:
            await fleet.stop(first)
    await seen.command("resume")
    await until_async(partial(replied, cluster, 6_000))
    assert second is not None
    order = await order_of(cluster)
    for conversation, numbers in order.items():
        seen_first = list(dict.fromkeys(numbers))
        assert seen_first == sorted(seen_first), f"{conversation} is out of order"
    again = sum(calls.values()) - 6_000
    assert again <= 2 * 20, f"{again} turns were called again: more than were in flight at the rebalances"


async def test_who_starts_in_a_pause_is_paused_too(
    fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet
) -> None:
    calls = Counter[str]()
    answers = Echo(lasting(0.0), calls=calls)
    await seen.command("pause")
    await seen.command("drain")  # older than the workers: not for them
    first = await fleet.start(answers=answers)
    await chat.send_many(numbered(range(100), 10))
    await until(lambda: is_so(seen, first, state="paused"))
    await two_more_reports(seen, first)
    assert not calls
    await seen.command("pause", partition=1)
    second = await fleet.start(answers=answers)
    await until(lambda: is_so(seen, second, state="paused"))
    await seen.command("resume")
    await until(lambda: len(calls) == 100)
    await until_async(partial(replied, cluster, 100))
    await assert_each_once_in_order(cluster, calls, 100)


async def test_a_partition_s_pause_moves_with_it(
    fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet
) -> None:
    calls = Counter[str]()
    answers = Echo(lasting(0.0), calls=calls)
    first = await fleet.start(answers=answers)
    await seen.command("pause", partition=1)
    await until(lambda: [p.partition for p in first.state().partitions if p.paused] == [1])
    second = await fleet.start(answers=answers)
    await fleet.stop(first)
    await until(lambda: [p.partition for p in second.state().partitions if p.paused] == [1])
    await chat.send_many(numbered(range(100), 30))
    places = await partition_of(cluster)
    await until(lambda: set(calls) == {text for text, place in places.items() if place != 1})
    await two_more_reports(seen, second)
    assert all(places[text] != 1 for text in calls)
    await seen.command("resume", partition=1)
    await until_async(partial(replied, cluster, 100))
    await assert_each_once_in_order(cluster, calls, 100)


async def test_one_of_two_is_drained(fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet) -> None:
    calls = Counter[str]()
    answers = Echo(lasting(0.01), calls=calls)
    first, second = await fleet.start(answers=answers), await fleet.start(answers=answers)
    await until(lambda: bool(first._intake.partitions) and bool(second._intake.partitions))
    await chat.send_many(numbered(range(2_000), 60))
    await until(lambda: len(calls) > 300)
    await seen.command("drain", worker=first.name)
    await fleet.running.pop(first)  # it returns, and raises nothing
    await until(lambda: state_of(seen, first) is None)
    await until(lambda: second._intake.partitions == [0, 1, 2])
    await until_async(partial(replied, cluster, 2_000))
    order = await order_of(cluster)
    assert all(list(dict.fromkeys(numbers)) == sorted(set(numbers)) for numbers in order.values())


async def test_a_drained_process_ends_in_order(
    cluster: Cluster, model_api: ModelApi, tmp_path: Path, seen: Fleet
) -> None:
    environment = {
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
        "FOREBAY_STORE": f"sqlite:///{tmp_path}/c.db",
    }
    worker = WorkerProcess("worker", tmp_path, environment)
    try:
        await worker.ready()
        await until(lambda: [state.state for state in seen.workers(time.time())] == ["working"])
        (state,) = seen.workers(time.time())
        assert state.pid == worker.pid
        await seen.command("drain", worker=state.worker_id)
        await until(lambda: not worker.running)
        assert worker.exit_status == 0
        await until(lambda: seen.workers(time.time()) == ())
    finally:
        worker.close()


async def test_garbage_among_commands_and_states_is_harmless(
    fleet: Workers, chat: ChatClient, cluster: Cluster, seen: Fleet
) -> None:
    topics, gate = cluster.topics, Gate()
    worker = await fleet.start(answers=Echo(gate, permits=3))
    old = Command(command_id="old", command="drain", issued_at=datetime.now(UTC) - timedelta(hours=1))
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        for value in (b"", b"{", b'{"command":"stop"}', b"\xff", None, encode(old)):
            await producer.send_and_wait(topics.commands, value, key=b"*")
            await producer.send_and_wait(topics.workers, value, key=b"nobody")
        for topic in (topics.commands, topics.workers):
            await unreadable_header(producer, topic)
            await producer.send_and_wait(topic, b"{}", key=b"\xff")
        state = worker.state().model_copy(update={"worker_id": "another"})
        await producer.send_and_wait(topics.workers, encode(state), key=b"nobody")
    await seen.command("pause", worker="another")
    await seen.command("pause", partition=2)
    await until(lambda: any(p.paused for p in worker.state().partitions))
    await until(lambda: is_so(seen, worker, state="working"))
    async with Fleet(cluster) as later:
        assert [state.worker_id for state in later.workers(time.time())] == [worker.name]
    gate.open.set()
    await seen.command("resume")
    await chat.send_many(numbered(range(10), 10))
    await until_async(partial(replied, cluster, 10))


async def unreadable_header(producer: AIOKafkaProducer, topic: str) -> None:
    """A record whose header name is not UTF-8, which aiokafka itself would not write."""
    batch = producer.create_batch()
    for name in ("good", "AAAA", "good"):
        batch.append(key=b"*", value=b"{}", timestamp=None, headers=[(name, b"x")])
    built = bytearray(batch._build())
    at = built.index(b"AAAA")
    built[at : at + 4] = b"\xff\xfe\xfd\xfc"
    built[17:21] = calc_crc32c(bytes(built[21:])).to_bytes(4, "big")
    batch._buffer = bytes(built)
    await (await producer.send_batch(batch, topic, partition=0))


async def test_more_left_undone_than_a_worker_may_hold_is_answered(
    fleet: Workers, chat: ChatClient, cluster: Cluster
) -> None:
    calls = Counter[str]()
    stuck = {str(number): 600.0 for number in range(300)}
    first = await fleet.start(answers=Echo(lasting(0.0, stuck), calls=calls))
    waiting = [new_turn(text, conversation_id="slow") for text in stuck]
    await chat.send_many([*waiting, *numbered(range(300, 600), 90)])
    await until_async(partial(replied, cluster, 300))
    await until_async(partial(committed_beyond, first))
    await fleet.crash(first)
    await fleet.start(answers=Echo(lasting(0.0), calls=calls), max_waiting=30)
    await until_async(partial(replied, cluster, 600))
    assert {text for text, count in calls.items() if count > 1} <= stuck.keys()


async def test_what_is_no_command_is_refused(seen: Fleet) -> None:
    with pytest.raises(ValueError, match="drain takes no partition"):
        await seen.command("drain", partition=1)
    with pytest.raises(ValueError, match="worker id"):
        await seen.command("drain", worker="")


async def test_a_cluster_without_the_topics_is_named(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="has no topic elsewhere"):
        async with Fleet(cluster.model_copy(update={"topic_prefix": "elsewhere"})):
            pass
