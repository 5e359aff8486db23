"""Records that nobody should send, and a Kafka that is not there: nothing of it may hold a partition or a worker."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import urllib.error
import urllib.request
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import OffsetAndMetadata

from forebay.producers import ChatClient, TopicSettings, apply_topics, new_turn
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, Topics, decode_reply

from .conftest import Fleet, read_topic, until, until_async
from .echo import Echo, lasting
from .test_turns import send_raw, turn_bytes


async def committed_everything(cluster: Cluster) -> bool:
    """Whether the group's commits have reached the end of every partition."""
    admin = AIOKafkaAdminClient(**cluster.connection())
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets("forebay-workers")
    finally:
        await admin.close()
    ends = Counter(record.partition for record in await read_topic(cluster, cluster.topics.requests))
    return all(offsets[TopicPartition(cluster.topics.requests, number)].offset == ends[number] for number in range(3))


async def test_headers_without_a_value_and_strange_timestamps(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    await fleet.start()
    producer = AIOKafkaProducer(**cluster.connection())
    await producer.start()
    topic = cluster.topics.requests
    await producer.send_and_wait(topic, turn_bytes(), key=b"c-1", headers=[("ce_type", None), ("traceparent", None)])
    await producer.send_and_wait(topic, b'{"turn_id": "t-2", "conversation_id": "c-2"}', timestamp_ms=-(10**15))
    await producer.send_and_wait(topic, turn_bytes(turn_id="t-3"), timestamp_ms=-(10**15))
    await producer.stop()
    await until_async(partial(committed_everything, cluster))
    replies = [decode_reply(record.value) for record in await read_topic(cluster, cluster.topics.replies)]
    assert {reply.turn_id: reply.outcome for reply in replies} == {"t-1": "answered", "t-2": "failed", "t-3": "expired"}


async def test_a_record_that_the_client_cannot_read_holds_only_its_partition(
    cluster: Cluster, fleet: Fleet, model_api: ModelApi
) -> None:
    producer = AIOKafkaProducer(**cluster.connection())
    await producer.start()
    for partition in range(3):
        batch = producer.create_batch()
        for number in range(5):
            name = "AAAA" if number == 2 and partition == 1 else "good"
            turn = turn_bytes(turn_id=f"t-{partition}-{number}", conversation_id=f"c-{partition}")
            batch.append(key=f"c-{partition}".encode(), value=turn, timestamp=None, headers=[(name, b"x")])
        built = bytearray(batch._build())
        if partition == 1:
            at = built.index(b"AAAA")
            built[at : at + 4] = b"\xff\xfe\xfd\xfc"
            built[17:21] = calc_crc32c(bytes(built[21:])).to_bytes(4, "big")
        batch._buffer = bytes(built)
        await (await producer.send_batch(batch, cluster.topics.requests, partition=partition))
    await producer.stop()
    worker = await fleet.start()

    async def answered() -> set[str]:
        replies = [decode_reply(record.value) for record in await read_topic(cluster, cluster.topics.replies)]
        return {reply.turn_id for reply in replies if reply.outcome == "answered"}

    async def all_readable_answered() -> bool:
        return len(await answered()) == 12

    await until_async(all_readable_answered)
    assert await answered() == {
        f"t-{partition}-{number}" for partition in range(3) for number in range(5) if partition != 1 or number < 2
    }
    await until(lambda: len(worker._intake._partitions.unreadable) == 1)
    await fleet.stop(worker)
    admin = AIOKafkaAdminClient(**cluster.connection())
    await admin.start()
    offsets = await admin.list_consumer_group_offsets("forebay-workers")
    await admin.close()
    held = offsets[TopicPartition(cluster.topics.requests, 1)]
    assert held.offset == 2, "nothing behind the record may be committed"


async def test_a_record_that_only_its_own_compression_made_small(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    await fleet.start()
    text = base64.b64encode(os.urandom(700_000)).decode()
    producer = AIOKafkaProducer(compression_type="gzip", max_request_size=20_000_000, **cluster.connection())
    await producer.start()
    await producer.send_and_wait(cluster.topics.requests, turn_bytes(text=text), key=b"c-1")
    await producer.send_and_wait(cluster.topics.requests, turn_bytes(text=text * 1, turn_id="t-2"), key=b"c-1")
    await producer.stop()
    assert (await chat.ask("still there?")).outcome == "answered"
    await until_async(partial(committed_everything, cluster))
    assert len(await read_topic(cluster, cluster.topics.dead_letters)) == 2


async def test_a_turn_has_one_reply_however_often_and_badly_it_is_sent(
    cluster: Cluster, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    for key, value in (
        (b"c-1", turn_bytes()),
        (b"c-1", turn_bytes(priority="urgent")),
        (b"zz", turn_bytes()),
        (b"c-2", turn_bytes(turn_id="t-2", conversation_id="c-2", text="")),
        (b"c-2", turn_bytes(turn_id="t-2", conversation_id="c-2", text="")),
        (b"c-2", turn_bytes(turn_id="t-2", conversation_id="c-2", text="now right")),
    ):
        await send_raw(cluster, key, value)
    await until_async(partial(committed_everything, cluster))
    values: dict[str, set[bytes]] = {}
    for record in await read_topic(cluster, cluster.topics.replies):
        values.setdefault(decode_reply(record.value).turn_id, set()).add(record.value)
    assert {turn_id: len(different) for turn_id, different in values.items()} == {"t-1": 1, "t-2": 1}


async def test_a_flood_in_one_partition_does_not_stop_the_others(
    cluster: Cluster, fleet: Fleet, chat: ChatClient
) -> None:
    calls = Counter[str]()
    answers = Echo(lasting(0.0, {"0": 600.0}), calls=calls)
    worker = await fleet.start(answers=answers, max_waiting=600, drain_s=0)
    await chat.send_many([new_turn(str(number), conversation_id="flood") for number in range(2_000)])
    await until(lambda: worker.state().waiting > 150)
    await chat.send_many([new_turn(str(number), conversation_id=f"c-{number}") for number in range(5_000, 5_200)])
    flooded = {
        record.partition for record in await read_topic(cluster, cluster.topics.requests) if record.key == b"flood"
    }
    others = {
        json.loads(record.value)["text"]
        for record in await read_topic(cluster, cluster.topics.requests)
        if record.partition not in flooded
    }
    assert others
    await until(lambda: others <= set(calls))


async def test_a_map_of_another_log_is_not_believed(cluster: Cluster, fleet: Fleet, chat: ChatClient) -> None:
    from forebay.schemas import completion

    admin = AIOKafkaAdminClient(**cluster.connection())
    await admin.start()
    places = [TopicPartition(cluster.topics.requests, number) for number in range(3)]
    metadata = completion.encode([0, 1], 500)
    points = {
        place: OffsetAndMetadata(0, text) for place, text in zip(places, (metadata, "x" * 4_096, "sw1r!"), strict=True)
    }
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(group_id="forebay-workers", **cluster.connection())
    await consumer.start()
    consumer.assign(places)
    await consumer.commit(points)
    await consumer.stop()
    await admin.close()
    calls = Counter[str]()
    await fleet.start(answers=Echo(lasting(0.0), calls=calls))
    await chat.send_many([new_turn(str(number), conversation_id=f"c-{number}") for number in range(60)])
    await until(lambda: len(calls) == 60)


@pytest.mark.takes(25)
async def test_sigterm_while_kafka_is_away(tmp_path: Path, model_api: ModelApi) -> None:
    broker = EmbeddedKafka(data=tmp_path / "kafka")
    broker.start()
    worker: WorkerProcess | None = None
    try:
        cluster = Cluster(kafka=broker.bootstrap_servers)
        await apply_topics(cluster, TopicSettings(topic_partitions=3))
        environment = {"FOREBAY_KAFKA": cluster.kafka, "FOREBAY_STORE": f"sqlite:///{tmp_path}/c.db"}
        worker = WorkerProcess("worker", tmp_path, environment)
        url = await worker.ready()
        async with ChatClient(cluster) as chat:
            assert (await chat.ask("Hello")).outcome == "answered"
        await asyncio.to_thread(broker.stop, kill=True)

        def not_ready() -> bool:
            try:
                urllib.request.urlopen(f"{url}/readyz")
            except urllib.error.HTTPError as error:
                return b"Kafka does not answer" in error.read()
            return False

        async def said() -> bool:
            return await asyncio.to_thread(not_ready)

        await until_async(said)
        assert await asyncio.to_thread(worker.stop) == 0
        assert "Traceback" not in worker.log.read_text()
    finally:
        if worker is not None:
            worker.close()
        broker.stop(kill=True)


def test_dead_letters_take_what_requests_take() -> None:
    specs = {spec.name: spec for spec in Topics().specs()}
    assert int(specs["chat.requests.dlq"].settings["max.message.bytes"]) >= 16 * 2**20
