"""Puts a backlog of chat turns onto a topic before an engine starts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from forebay.schemas.topics import Topics

from .workloads import Workload

TEXT = "My order arrived without the charger. Can you send one, or should I return the whole package?"


def conversations(scenario: Workload) -> list[int]:
    """The conversation of each turn, in order; the same list for the same scenario."""
    draw = random.Random(scenario.seed)
    population = range(1, scenario.conversations + 1)
    if not scenario.zipf:
        return draw.choices(population, k=scenario.turns)
    weights = list(itertools.accumulate(1.0 / rank for rank in population))
    return draw.choices(population, cum_weights=weights, k=scenario.turns)


def turns(scenario: Workload) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each turn; sequence numbers begin with 1."""
    sent_at = datetime.now(UTC).isoformat()
    for sequence, number in enumerate(conversations(scenario), start=1):
        conversation = f"c-{number:04d}"
        turn = {"turn_id": f"t-{sequence:06d}", "conversation_id": conversation, "text": TEXT, "sent_at": sent_at}
        yield conversation.encode(), orjson.dumps(turn)


def topics(scenario: Workload) -> Topics:
    """The topics of a scenario, by Forebay's names: its engine finds the others from the first."""
    return Topics(f"bench-{scenario.name}")


async def create_topics(bootstrap: str, scenario: Workload) -> None:
    """Every topic of the scenario; records carry the broker's clock, so a reply is timed when it is durable."""
    names = topics(scenario)
    others = (names.replies, names.deltas, names.dead_letters, names.handoffs, names.workers, names.commands)
    partitions = {names.requests: scenario.partitions, **dict.fromkeys(others, 1)}
    configs = {"message.timestamp.type": "LogAppendTime"}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name, count, 1, topic_configs=configs) for name, count in partitions.items()]
        )
    finally:
        await admin.close()


async def fill(bootstrap: str, scenario: Workload) -> None:
    """Creates the topics and writes every turn onto the first."""
    await create_topics(bootstrap, scenario)
    topic = topics(scenario).requests
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5, max_batch_size=131_072
    )
    async with producer:
        for key, value in turns(scenario):
            await producer.send(topic, value, key=key)
        await producer.flush()
