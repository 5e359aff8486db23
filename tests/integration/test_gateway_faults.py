"""Gateways that die, stand side by side, or lose Kafka: what was accepted is not lost, and readers go on elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from forebay.producers import TopicSettings, apply_topics, new_turn
from forebay.producers.client import encode_turn
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import GatewayProcess
from forebay.schemas import Cluster, decode_turn

from .conftest import Fleet, read_topic, until, until_async
from .gateway import Hand, serving
from .test_gateway import Client


@pytest.fixture
def processes(cluster: Cluster, tmp_path: Path) -> Iterator[list[GatewayProcess]]:
    """Two gateways in processes of their own."""
    environment = {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}
    started = [GatewayProcess(f"gateway-{number}", tmp_path, environment) for number in range(2)]
    yield started
    for process in started:
        process.close()


async def test_a_gateway_is_killed_and_its_readers_miss_nothing_at_another(
    cluster: Cluster, processes: list[GatewayProcess], hand: Hand
) -> None:
    await asyncio.gather(*(process.ready() for process in processes))
    readers, count = 40, 25
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        clients = [Client(process, session) for process in processes]  # type: ignore[arg-type]
        ready = asyncio.Barrier(readers + 1)
        following = [asyncio.create_task(_follow(clients, f"c-{number}", count, ready)) for number in range(readers)]
        await ready.wait()
        for number in range(count):
            await asyncio.gather(*(_answer(hand, f"c-{reader}", number) for reader in range(readers)))
            if number == count // 2:
                processes[0].kill()
        async with asyncio.timeout(60):
            for number, seen in enumerate(await asyncio.gather(*following)):
                assert seen == [f"c-{number}-{turn}" for turn in range(count)]


async def test_it_starts_behind_the_mark_of_a_transaction(cluster: Cluster) -> None:
    """A replay of dead letters ends with one, and it is the end of its partition until somebody says something there."""
    producer = AIOKafkaProducer(transactional_id=cluster.topic_prefix, **cluster.connection())
    await producer.start()
    async with producer.transaction():
        turn = new_turn("Is it in stock?", conversation_id="c-1")
        await producer.send_and_wait(cluster.topics.requests, encode_turn(turn), key=b"c-1")
    await producer.stop()
    async with asyncio.timeout(15), serving(cluster) as gateway:
        assert gateway.ready() is None


async def _answer(hand: Hand, conversation: str, number: int) -> None:
    turn = (conversation, f"{conversation}-{number}")
    await hand.delta(turn, 0, "words")
    await hand.reply(turn, "words")


async def _follow(clients: list[Client], conversation: str, count: int, ready: asyncio.Barrier) -> list[str]:
    """Reads at the first gateway that answers, and goes on where it was."""
    seen: list[str] = []
    last_id: str | None = None
    at, begun = 0, False
    while len(seen) < count:
        try:
            async with clients[at].reading(conversation, last_id) as reader:
                last_id = reader.last_id
                if not begun:
                    begun = True
                    await ready.wait()
                while len(seen) < count:
                    seen.append((await reader.next("done"))["turn_id"])
                    last_id = reader.last_id
        except (aiohttp.ClientError, asyncio.IncompleteReadError):
            at = (at + 1) % len(clients)
    return seen


async def test_three_gateways_side_by_side(cluster: Cluster, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        gateways = [await stack.enter_async_context(serving(cluster)) for _ in range(3)]
        clients = [Client(gateway, session) for gateway in gateways]
        opening = (clients[number % 3].reading(f"c-{number}") for number in range(30))
        readers = [await stack.enter_async_context(reader) for reader in opening]
        sent = await asyncio.gather(
            *(clients[(number + 1) % 3].turn(f"c-{number}", stream=True) for number in range(30))
        )
        replies = await asyncio.gather(*(reader.next("done") for reader in readers))
        assert [reply["turn_id"] for reply in replies] == [told["turn_id"] for told in sent]
        turns = [told["turn_id"] for told in sent]
        # Each gateway hears of the replies for itself, a moment before or after the others.
        await until_async(lambda: _all_done(clients, turns))


async def _all_done(clients: list[Client], turns: list[str]) -> bool:
    asking = (clients[(number + 2) % 3].call("GET", f"/turns/{turn}") for number, turn in enumerate(turns))
    return {told["status"] for _, told, _ in await asyncio.gather(*asking)} == {"done"}


@pytest.mark.takes(26)
async def test_while_kafka_is_away_turns_are_refused_and_what_was_accepted_is_there(tmp_path: Path) -> None:
    with EmbeddedKafka.running(data=tmp_path / "kafka") as kafka:
        cluster = Cluster(kafka=kafka.bootstrap_servers)
        await apply_topics(cluster, TopicSettings(topic_partitions=3))
        async with (
            serving(cluster, gateway_accept_s=1.0, gateway_unacknowledged=20) as gateway,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            client = Client(gateway, session)
            first = [await _post(client, f"before-{number}") for number in range(10)]
            sending = [asyncio.create_task(_post(client, f"during-{number}")) for number in range(10)]
            await asyncio.to_thread(kafka.stop, kill=True)
            during = await asyncio.gather(*sending)
            async with asyncio.timeout(15):
                away = await asyncio.gather(*(_post(client, f"away-{number}") for number in range(100)))
            assert {status for status, *_ in away} == {503}
            assert {told["code"] for _, told, _ in away} == {"kafka_away"}
            await until(lambda: gateway.ready() is not None)
            await asyncio.to_thread(kafka.start)
            async with asyncio.timeout(60):
                while (answer := await _post(client, "away-0"))[0] != 202:
                    assert answer[0] == 503
                    await asyncio.sleep(0.2)
            await until(lambda: gateway.ready() is None)
        accepted = {told["turn_id"] for status, told, _ in (*first, *during, answer) if status == 202}
        written = [decode_turn(record.value).turn_id for record in await read_topic(cluster, cluster.topics.requests)]
        assert accepted <= set(written)


async def _post(client: Client, turn_id: str) -> tuple[int, dict[str, Any], Any]:
    return await client.call("POST", "/conversations/c-1/turns", {"text": "Hello", "turn_id": turn_id})
