"""Workers that come and go, and a broker that goes and comes back, while turns flow."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from forebay.producers import ChatClient, TopicSettings, apply_topics, new_turn
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster, decode_turn
from forebay.workers.engine.worker import Worker

from .conftest import Fleet, read_topic, until, until_async
from .echo import Echo, lasting


async def order_of(cluster: Cluster) -> dict[str, list[int]]:
    """The numbers of the turns of each conversation, in the order their replies were published."""
    order: dict[str, list[int]] = {}
    for record in await read_topic(cluster, cluster.topics.replies):
        reply = decode_turn_text(record.value)
        order.setdefault(reply[0], []).append(reply[1])
    return order


def decode_turn_text(value: bytes) -> tuple[str, int]:
    turn = decode_turn(value)
    return turn.conversation_id, int(turn.text)


async def test_three_workers_come_and_go_while_turns_flow(fleet: Fleet, chat: ChatClient, cluster: Cluster) -> None:
    turns, calls = 10_000, Counter[str]()
    answers = Echo(lasting(0.02), calls=calls)
    sending = asyncio.create_task(
        chat.send_many([new_turn(str(number), conversation_id=f"c-{number % 100}") for number in range(turns)])
    )
    first = await fleet.start(answers=answers)
    await until(lambda: len(calls) > 500)
    second = await fleet.start(answers=answers)
    await until(lambda: len(calls) > 2_500)
    third = await fleet.start(answers=answers)
    await until(lambda: len(calls) > 4_000)
    await fleet.stop(first)
    await until(lambda: len(calls) > 6_000)
    await fleet.stop(second)
    await sending
    await until(lambda: len(calls) == turns)
    await fleet.stop(third)
    order = await order_of(cluster)
    assert len(order) == 100
    for conversation, numbers in order.items():
        first_seen = list(dict.fromkeys(numbers))
        assert first_seen == sorted(first_seen), f"{conversation} is out of order"
        assert len(first_seen) == 100
    again = sum(calls.values()) - turns
    assert again <= 2 * 50, (
        f"{again} turns were called again: more than were in flight at the two rebalances that took some"
    )


async def test_turns_of_a_partition_that_stays_are_not_called_again(
    fleet: Fleet, chat: ChatClient, cluster: Cluster
) -> None:
    calls = Counter[str]()
    answers = Echo(lasting(4.0), calls=calls)  # longer than any rebalance waits
    first = await fleet.start(answers=answers)
    await chat.send_many([new_turn(str(number), conversation_id=f"c-{number}") for number in range(30)])
    await until(lambda: len(calls) == 30)
    second = await fleet.start(answers=answers)
    await until(lambda: len(second._intake.partitions) > 0)
    kept = set(first._intake.partitions)
    assert kept
    await until_async(partial(replied, cluster, 30))
    by_partition = Counter[int]()
    for record in await read_topic(cluster, cluster.topics.requests):
        _, number = decode_turn_text(record.value)
        by_partition[record.partition] += calls[str(number)] - 1
    assert all(again == 0 for partition, again in by_partition.items() if partition in kept)
    assert sum(1 for _ in by_partition) == 3


async def replied(cluster: Cluster, count: int) -> bool:
    return (
        len({decode_turn_text(record.value) for record in await read_topic(cluster, cluster.topics.replies)}) >= count
    )


async def test_what_was_done_beyond_a_stuck_turn_is_not_called_again_after_a_crash(
    fleet: Fleet, chat: ChatClient, cluster: Cluster
) -> None:
    calls = Counter[str]()
    stuck = {"0": 600.0}
    first = await fleet.start(answers=Echo(lasting(0.0, stuck), calls=calls))
    await chat.send_many([new_turn(str(number), conversation_id=f"c-{number}") for number in range(500)])
    await until_async(partial(replied, cluster, 499))
    await until_async(partial(committed_beyond, first))
    await fleet.crash(first)
    second = await fleet.start(answers=Echo(lasting(0.0), calls=calls))
    await until_async(partial(replied, cluster, 500))
    await fleet.stop(second)
    assert calls["0"] == 2
    assert {text for text, count in calls.items() if count > 1} == {"0"}


async def committed_beyond(worker: Worker) -> bool:
    """Whether all that is done is in the last commit."""
    return not worker._intake._partitions.uncommitted()


async def test_one_slow_conversation_holds_nobody_up(fleet: Fleet, chat: ChatClient, cluster: Cluster) -> None:
    calls = Counter[str]()
    await fleet.start(answers=Echo(lasting(0.0, {"0": 600.0}), calls=calls), concurrency=4, drain_s=0)
    slow = [new_turn(str(number), conversation_id="slow") for number in range(2_000)]
    others = [new_turn(str(number), conversation_id=f"c-{number}") for number in range(2_000, 2_100)]
    await chat.send_many([*slow, *others])
    await until(lambda: len(calls) == 101)
    assert calls["1"] == 0


@pytest.mark.takes(21)
async def test_the_broker_restarts(tmp_path: Path) -> None:
    broker = EmbeddedKafka(data=tmp_path / "kafka")
    broker.start()
    try:
        cluster = Cluster(kafka=broker.bootstrap_servers, topic_prefix="restart")
        await apply_topics(cluster, TopicSettings(topic_partitions=3))
        calls = Counter[str]()
        async with AsyncExitStack() as stack, ChatClient(cluster) as chat:
            fleet = Fleet(cluster, tmp_path, stack)
            await fleet.start(answers=Echo(lasting(0.01), calls=calls), concurrency=10)
            turns = [new_turn(str(number), conversation_id=f"c-{number % 20}") for number in range(1_500)]
            await chat.send_many(turns[:1_000])
            await until(lambda: len(calls) > 200)
            await asyncio.to_thread(broker.stop, kill=True)
            began = time.monotonic()
            await asyncio.to_thread(broker.start)
            await chat.send_many(turns[1_000:])
            await until_async(partial(replied, cluster, 1_500), 90)
            assert time.monotonic() - began < 80
            order = await order_of(cluster)
            for numbers in order.values():
                first_seen = list(dict.fromkeys(numbers))
                assert first_seen == sorted(first_seen)
                assert len(first_seen) == 75
    finally:
        broker.stop()
