"""What persons of the shop write to customers, what customers say of replies, and what a second tab sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from forebay.gateway import Gateway
from forebay.gateway.stream import tail as tails
from forebay.gateway.stream.record import Stream
from forebay.schemas import Cluster, decode_feedback, decode_person_message

from .conftest import read_topic
from .gateway import Hand, serving, token, write_keys
from .test_gateway import Client, client, session

__all__ = ["client", "session"]


async def write(client: Client, text: str = "Hello", **fields: Any) -> dict[str, Any]:
    status, told, _ = await client.call("POST", "/conversations/c-1/messages", {"text": text, "name": "Ann", **fields})
    assert status == 200, told
    return told


async def test_a_persons_message_reaches_the_customer_and_who_comes_back(client: Client, cluster: Cluster) -> None:
    async with client.reading("c-1") as reader:
        first = await write(client, message_id="m-1")
        seen = await reader.next("message")
        assert seen == {name: first[name] for name in ("message_id", "name", "text", "at")}
        left_at = reader.last_id
    await write(client, "Anybody there?", message_id="m-2")
    await write(client, "Anybody there?", message_id="m-2")
    await write(client, "你好")
    async with client.reading("c-1", left_at) as reader:
        assert [(await reader.next("message"))["text"] for _ in range(2)] == ["Anybody there?", "你好"]
    records = await read_topic(cluster, cluster.topics.messages)
    assert [record.key for record in records] == [b"c-1"] * 4
    assert decode_person_message(records[0].value).name == "Ann"


async def test_what_is_too_old_for_the_memory_is_read_back(
    cluster: Cluster, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tails.KEPT_BYTES, Stream.MESSAGES, 1)
    async with serving(cluster) as gateway:
        client = Client(gateway, session)
        async with client.reading("c-1") as reader:
            await write(client, "One")
            await reader.next("message")
            left_at = reader.last_id
        await write(client, "Two")
        async with client.reading("c-1", left_at) as reader:
            assert (await reader.next("message"))["text"] == "Two"


async def test_the_same_idempotency_key_is_one_message(client: Client, cluster: Cluster) -> None:
    async with client.reading("c-1") as reader:
        for text in ("Hello", "Hello", "Goodbye"):
            path, body = "/conversations/c-1/messages", {"text": text}
            await client.call("POST", path, body, **{"Idempotency-Key": text})
        assert [(await reader.next("message"))["text"] for _ in range(2)] == ["Hello", "Goodbye"]


async def test_only_servers_and_operators_write_as_persons(cluster: Cluster, tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "gateway_keys": write_keys(tmp_path),
        "gateway_api_keys": "shop=key-of-the-shop",
        "gateway_admin_keys": "ops=key-of-an-operator",
    }
    async with serving(cluster, **keys) as gateway, aiohttp.ClientSession() as session:
        client = Client(gateway, session)

        async def status(key: str, body: Any) -> int:
            path = "/conversations/c-1/messages"
            return (await client.call("POST", path, body, Authorization=f"Bearer {key}"))[0]

        said = {"text": "Hello"}
        assert await status(token("c-1"), said) == 403
        for key in ("key-of-the-shop", "key-of-an-operator", token("c-1", scope="admin")):
            assert await status(key, said) == 200
        for wrong in ({}, {"text": ""}, {"text": "x" * 32_769}, {"text": "x", "name": "n" * 129}, {"text": 1}):
            assert await status("key-of-the-shop", wrong) == 400
    assert len(await read_topic(cluster, cluster.topics.messages)) == 3


async def test_feedback(cluster: Cluster, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"gateway_keys": write_keys(tmp_path), "gateway_api_keys": "shop=key-of-the-shop"}
    async with serving(cluster, **keys) as gateway, aiohttp.ClientSession() as session:
        client = Client(gateway, session)

        async def rate(key: str, body: Any) -> int:
            path = "/conversations/c-1/turns/t-1/feedback"
            return (await client.call("POST", path, body, Authorization=f"Bearer {key}"))[0]

        assert await rate(token("c-1"), {"rating": -1, "text": "wrong size"}) == 204
        assert await rate("key-of-the-shop", {"rating": 1, "user_id": "u-9"}) == 204
        assert await rate(token("c-2"), {"rating": 1}) == 403
        assert await rate(token("c-1"), {"rating": 1, "user_id": "u-9"}) == 403
        for wrong in ({}, {"rating": 0}, {"rating": True}, {"rating": 1, "text": "x" * 2_001}):
            assert await rate(token("c-1"), wrong) == 400
    first, second = await read_topic(cluster, cluster.topics.feedback)
    word = decode_feedback(first.value)
    assert (first.key, word.turn_id, word.rating, word.text, word.user_id) == (b"c-1", "t-1", -1, "wrong size", "u-1")
    assert (decode_feedback(second.value).rating, decode_feedback(second.value).user_id) == (1, "u-9")


async def test_a_second_tab_sees_what_the_first_one_sends(client: Client, gateway: Gateway, hand: Hand) -> None:
    async with client.reading("c-1") as first:
        sent = await client.turn("c-1", "Where is it?")
        seen = await first.next("turn")
        assert (seen["turn_id"], seen["text"]) == (sent["turn_id"], "Where is it?")
        async with client.reading("c-1") as late:
            assert (await late.next("turn"))["turn_id"] == sent["turn_id"], "one that opens while it waits"
        await hand.reply(("c-1", sent["turn_id"]), "Here")
        await first.next("done")
        left_at = first.last_id
    answered = await client.turn("c-1", "And the other?")
    await hand.reply(("c-1", answered["turn_id"]), "There")
    async with client.reading("c-1", left_at) as back:
        assert (await back.next("turn"))["text"] == "And the other?"
        assert (await back.next("done"))["reply"]["text"] == "There"
        assert [name for name, _ in back.seen if name != "queued"] == ["open", "turn", "done"]
