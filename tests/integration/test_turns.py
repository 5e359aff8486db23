"""Turns through a real Kafka, answered through the real SDKs: what goes in, what comes out, what is a dead letter."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from forebay.producers import ChatClient, ReplyTimeoutError, new_turn
from forebay.rehearsal.model_api import Fault, ModelApi, parse_reply
from forebay.schemas import Cluster, Confirm, Delta, Reply, Turn, decode_reply, encode, new_id
from forebay.workers.conversations import Entry, StoredReply, open_store
from forebay.workers.flow.retry import RetryPolicy

from .conftest import Fleet, read_topic, until, until_async


async def test_a_turn_is_answered(fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str) -> None:
    await fleet.start(model=model)
    reply = await chat.ask("Is SKU001 in stock?")
    assert reply.outcome == "answered"
    assert "Is SKU001 in stock?" in reply.text
    assert (reply.model, reply.attempts, reply.error, reply.action) == (model, 1, None, None)
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.cost_usd is not None
    assert reply.cost_usd > 0
    assert reply.model_ms > 0


async def test_a_conversation_is_remembered(fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str) -> None:
    await fleet.start(model=model)
    said = ["My order is 20261111-4711", "Where is it?", "那件蓝色的呢？", "Thank you"]
    for number, text in enumerate(said, 1):
        reply = await chat.ask(text, conversation_id="c-1")
        echo = parse_reply(reply.text)
        assert echo.turn == number
        assert echo.earlier == [earlier[:24] for earlier in said[: number - 1]]


async def test_a_stream_is_whole(fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str) -> None:
    await fleet.start(model=model)
    heard = [part async for part in chat.stream("Tell me about the blue one " * 8)]
    deltas = [part for part in heard if isinstance(part, Delta)]
    reply = heard[-1]
    assert isinstance(reply, Reply)
    assert reply.outcome == "answered"
    assert [delta.sequence for delta in deltas] == list(range(len(deltas)))
    assert reply.text.startswith("".join(delta.text for delta in deltas))
    assert deltas


async def test_what_waited_in_all_partitions_goes_by_its_age(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, cluster: Cluster
) -> None:
    """As after a rebalance: a worker gets whole partitions of waiting turns at once."""
    sent = [new_turn(f"Question {number}", conversation_id=f"c-{number}") for number in range(40)]
    for turn in sent:
        await chat.send(turn)  # one after the other: no two of the same age
    await fleet.start(concurrency=1)
    places = {turn.turn_id: number for number, turn in enumerate(sent)}
    await until_async(lambda: _replied(cluster, len(sent)))
    replies = [decode_reply(record.value) for record in await read_topic(cluster, cluster.topics.replies)]
    begun = [places[reply.turn_id] for reply in sorted(replies, key=lambda reply: reply.created_at)]
    # The first ones begin before the others have been fetched.
    assert sum(abs(number - place) > 8 for number, place in enumerate(begun)) <= 4, begun


async def _replied(cluster: Cluster, count: int) -> bool:
    return len(await read_topic(cluster, cluster.topics.replies)) >= count


@pytest.mark.parametrize("fault", ["cut", "early_end", "stream_error"])
async def test_a_broken_stream_starts_again_with_a_mark(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str, fault: str
) -> None:
    await fleet.start(model=model)
    model_api.add_fault(fault, count=1, after=3)
    heard = [part async for part in chat.stream("Tell me about the blue one " * 8)]
    reply = heard.pop()
    assert isinstance(reply, Reply)
    assert (reply.outcome, reply.attempts) == ("answered", 2)
    shown = ""
    for delta in heard:
        assert isinstance(delta, Delta)
        shown = delta.text if delta.restart else shown + delta.text
    assert reply.text.startswith(shown)


@pytest.mark.parametrize("fault", ["rate_limit", "overloaded", "server_error", "malformed", "cut"])
async def test_a_passing_fault_is_tried_again(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str, fault: str
) -> None:
    await fleet.start(model=model)
    model_api.add_fault(fault, count=2)
    reply = await chat.ask("Is it in stock?")
    assert (reply.outcome, reply.attempts) == ("answered", 3)


async def test_what_no_retry_mends_is_a_dead_letter(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str
) -> None:
    await fleet.start(model=model)
    turn = new_turn("Hello [fault context_too_long]", conversation_id="c-9")
    reply = await chat.ask(turn)
    assert reply.outcome == "failed"
    assert reply.error is not None
    assert reply.error.code == "rejected_by_model"
    assert reply.attempts == 1
    assert reply.text
    (letter,) = await read_topic(cluster, cluster.topics.dead_letters)
    headers = dict(letter.headers)
    assert json.loads(letter.value)["turn_id"] == turn.turn_id
    assert letter.key == b"c-9"
    assert headers["dlq.reason"] == b"rejected_by_model"
    assert headers["dlq.topic"].decode() == cluster.topics.requests
    assert headers["dlq.attempts"] == b"1"
    assert {"dlq.partition", "dlq.offset", "dlq.timestamp", "dlq.failed_at", "dlq.worker", "dlq.message"} <= set(
        headers
    )


async def test_retries_end(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start()
    reply = await chat.ask("Hello [fault overloaded]")
    assert reply.error is not None
    assert (reply.outcome, reply.error.code, reply.attempts) == ("failed", "retries_exhausted", 8)


async def test_an_expired_turn_never_reaches_the_model(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start()
    reply = await chat.ask("Too late?", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert reply.error is not None
    assert (reply.outcome, reply.error.code, reply.attempts) == ("expired", "expired", 0)
    assert model_api.stats().begun == 0


async def test_a_turn_sent_twice_is_one_call_and_one_reply(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    await fleet.start()
    turn = new_turn("Is it in stock?")
    first = await chat.ask(turn)
    again = await chat.ask(turn)
    assert again == first
    assert model_api.stats().begun == 1
    values = {record.value for record in await read_topic(cluster, cluster.topics.replies)}
    assert len(values) == 1


async def test_trace_headers_reach_the_reply(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    await fleet.start()
    trace = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    await chat.ask("Hello", headers=(trace, ("ce_source", b"/web"), ("other", b"x")))
    (record,) = await read_topic(cluster, cluster.topics.replies)
    assert record.headers == (trace, ("ce_source", b"/web"))


async def test_a_confirmation_of_nothing_fails(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start()
    reply = await chat.ask(Turn(turn_id=new_id(), conversation_id="c-1", confirm=Confirm(action_id="a-1", accept=True)))
    assert reply.error is not None
    assert (reply.outcome, reply.error.code) == ("failed", "unknown_action")


async def test_without_a_worker_the_client_says_so(chat: ChatClient) -> None:
    with pytest.raises(ReplyTimeoutError, match="is a worker running"):
        await chat.ask("Anyone?", timeout_s=0.2)


def turn_bytes(**fields: object) -> bytes:
    return json.dumps({"turn_id": "t-1", "conversation_id": "c-1", "text": "hi", **fields}).encode()


BAD = {
    "not json": (b"c-1", b"hello", "undecodable", False),
    "not utf-8": (b"c-1", b'{"turn_id": "t-1", "conversation_id": "c-1", "text": "\xff\xfe"}', "undecodable", False),
    "binary key": (b"\xff\x00", turn_bytes(), "key_mismatch", True),
    "tombstone": (b"c-1", None, "undecodable", False),
    "empty text": (b"c-1", turn_bytes(text=""), "invalid", True),
    "no text": (b"c-1", b'{"turn_id": "t-1", "conversation_id": "c-1"}', "invalid", True),
    "text of 1 MiB": (b"c-1", turn_bytes(text="x" * 1_048_000), "invalid", True),
    "other key": (b"c-2", turn_bytes(), "key_mismatch", True),
    "a list": (b"c-1", b"[1, 2]", "invalid", False),
    "a number as time": (b"c-1", turn_bytes(expires_at=12), "invalid", True),
    "long id": (b"c-1", turn_bytes(turn_id="t" * 129), "invalid", False),
}


@pytest.mark.parametrize(("key", "value", "reason", "told"), BAD.values(), ids=BAD.keys())
async def test_a_bad_record_is_a_dead_letter_and_the_partition_goes_on(
    cluster: Cluster,
    fleet: Fleet,
    chat: ChatClient,
    model_api: ModelApi,
    key: bytes,
    value: bytes | None,
    reason: str,
    told: bool,
) -> None:
    await fleet.start()
    await send_raw(cluster, key, value, [("x", b"\x00\xff"), ("dlq.reason", b"old")])
    assert (await chat.ask("still there?")).outcome == "answered"
    (letter,) = await read_topic(cluster, cluster.topics.dead_letters)
    assert (letter.key, letter.value) == (key, value)
    headers = dict(letter.headers)
    assert headers["dlq.reason"].decode() == reason
    assert headers["x"] == b"\x00\xff"
    failed = [decode_reply(record.value) for record in await read_topic(cluster, cluster.topics.replies)]
    assert [reply.turn_id for reply in failed if reply.outcome == "failed"] == (["t-1"] if told else [])


@pytest.mark.parametrize(
    "value",
    [
        turn_bytes(new_field={"a": 1}, version=9),
        turn_bytes(user_id=None, priority=None, stream=None, attributes=None, expires_at=None),
        turn_bytes(text="x" * 32_768),
        turn_bytes(text="\u0000\u001b[31m 你好 \U0001f600"),
    ],
    ids=["unknown fields", "nulls", "longest text", "odd characters"],
)
@pytest.mark.parametrize("key", [b"c-1", None], ids=["with key", "without key"])
async def test_an_odd_record_is_answered(
    cluster: Cluster, fleet: Fleet, model_api: ModelApi, key: bytes | None, value: bytes
) -> None:
    await fleet.start()
    await send_raw(cluster, key, value)
    replies: list[Reply] = []

    async def answered() -> bool:
        replies[:] = [decode_reply(record.value) for record in await read_topic(cluster, cluster.topics.replies)]
        return bool(replies)

    async with asyncio.timeout(20):
        while not await answered():
            await asyncio.sleep(0.05)
    assert [(reply.turn_id, reply.outcome) for reply in replies] == [("t-1", "answered")]


async def send_raw(
    cluster: Cluster, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]] | None = None
) -> None:
    producer = AIOKafkaProducer(max_request_size=2 << 20, **cluster.connection())
    await producer.start()
    try:
        await producer.send_and_wait(cluster.topics.requests, key=key, value=value, headers=headers)
    finally:
        await producer.stop()


async def test_a_turn_that_another_worker_answered_meanwhile_is_not_called_again(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    """A worker that was stopped in the middle of a retry wakes up when its turn has a reply."""
    model_api.add_fault(Fault.RATE_LIMIT, count=1, seconds=2.0)
    await fleet.start(retry=RetryPolicy(base_s=0.01, retry_after_cap_s=2.0))
    turn = new_turn("Are you there?", conversation_id="c-1")
    asked = asyncio.create_task(chat.ask(turn))
    await until(lambda: model_api.stats().begun == 1)
    store = open_store(fleet.store_url)
    reply = Reply(
        turn_id=turn.turn_id,
        conversation_id="c-1",
        reply_id="r-1",
        outcome="answered",
        text="By another worker.",
        created_at=datetime.now(UTC),
    )
    await store.record(Entry("c-1", turn.turn_id, StoredReply("answered", encode(reply)), None))
    await store.close()
    assert (await asked).text == "By another worker."
    assert model_api.stats().begun == 1
