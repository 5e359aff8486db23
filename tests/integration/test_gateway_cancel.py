"""Turns that clients take back over HTTP: by asking for it, or by leaving; and replies of turns that were merged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from forebay.gateway import Gateway
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Cancellation, Cluster, decode_cancellation, decode_turn, new_id

from .conftest import Fleet, read_topic, until, until_async
from .gateway import Hand, serving, token, write_keys
from .test_gateway import Client, client, session
from .test_gateway_openai import sdk, stream, told, words

__all__ = ["client", "session"]


async def cancellations(cluster: Cluster) -> list[Cancellation]:
    records = await read_topic(cluster, cluster.topics.cancellations)
    return [decode_cancellation(record.value) for record in records]


async def cancelled_turns(cluster: Cluster) -> list[str]:
    return [word.turn_id for word in await cancellations(cluster)]


async def requested(cluster: Cluster) -> list[str]:
    return [decode_turn(record.value).turn_id for record in await read_topic(cluster, cluster.topics.requests)]


async def cancel(client: Client, turn_id: str, conversation: str = "c-1", **headers: str) -> tuple[int, Any]:
    path = f"/conversations/{conversation}/turns/{turn_id}/cancel"
    return (await client.call("POST", path, **headers))[:2]


async def test_a_turn_is_taken_back_and_its_reply_comes_back_if_it_is_settled_soon(
    client: Client, cluster: Cluster, hand: Hand
) -> None:
    turn_id = (await client.turn("c-1"))["turn_id"]
    status, first = await cancel(client, turn_id)
    assert (status, first) == (202, {"turn_id": turn_id, "conversation_id": "c-1", "status": "cancelling"})
    waiting = asyncio.create_task(cancel(client, turn_id))
    await until_async(lambda: _count(cluster, 2))
    written = await hand.reply(("c-1", turn_id), "So far", outcome="cancelled")
    reply = written.model_dump(mode="json")
    assert await waiting == (200, {"turn_id": turn_id, "conversation_id": "c-1", "status": "done", "reply": reply})
    assert (await cancel(client, turn_id))[1]["reply"] == reply
    words = await cancellations(cluster)
    assert [(word.turn_id, word.user_id) for word in words] == [(turn_id, None)] * 2, "the third changes nothing"


async def _count(cluster: Cluster, number: int) -> bool:
    return len(await cancellations(cluster)) == number


async def test_a_turn_that_is_not_known_may_still_come_and_one_that_is_over_is_found(
    client: Client, cluster: Cluster, hand: Hand
) -> None:
    assert (await cancel(client, "not-here-yet"))[0] == 202
    assert await cancelled_turns(cluster) == ["not-here-yet"]
    assert (await cancel(client, "x" * 129))[0] == 400
    failed = new_id()
    await hand.reply(("c-1", failed), "", outcome="failed")
    assert (await cancel(client, failed))[1]["reply"]["outcome"] == "failed"
    assert failed in await cancelled_turns(cluster), "it may run once more, as a replayed dead letter"


async def test_only_the_conversations_user_or_a_server_takes_back(cluster: Cluster, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"gateway_keys": write_keys(tmp_path), "gateway_api_keys": "shop=key-of-the-shop"}
    async with serving(cluster, **keys) as gateway, aiohttp.ClientSession() as session:
        client = Client(gateway, session)
        for user in ("u-1", ""):
            assert (await cancel(client, "t-1", Authorization=f"Bearer {token('c-1', user=user)}"))[0] == 202
        assert (await cancel(client, "t-1", Authorization="Bearer key-of-the-shop"))[0] == 202
        assert (await cancel(client, "t-1", Authorization=f"Bearer {token('c-2')}"))[0] == 403
        assert (await cancel(client, "t-1"))[0] == 401
    assert [word.user_id for word in await cancellations(cluster)] == ["u-1", "", None]


async def test_a_user_takes_back_no_more_turns_than_may_be_sent(cluster: Cluster, tmp_path: Path) -> None:
    async with (
        serving(
            cluster, gateway_keys=write_keys(tmp_path), gateway_user_burst=1, gateway_user_turns_a_second=0.01
        ) as at,
        aiohttp.ClientSession() as session,
    ):
        client = Client(at, session, Authorization=f"Bearer {token('c-1')}")
        assert (await cancel(client, "t-1"))[0] == 202
        assert (await cancel(client, "t-2"))[0] == 429
    assert await cancelled_turns(cluster) == ["t-1"]


async def test_over_a_websocket(client: Client, gateway: Gateway, cluster: Cluster, hand: Hand) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{gateway.url}/v1/conversations/c-1/ws") as socket,
    ):
        await socket.send_json({"type": "turn", "turn_id": "t-1", "text": "Hello", "when_busy": "interrupt"})
        await _heard(socket, "accepted")
        await socket.send_json({"type": "cancel", "turn_id": "t-1"})
        assert await _heard(socket, "cancelling") == {"type": "cancelling", "turn_id": "t-1"}
        assert await cancelled_turns(cluster) == ["t-1"]
        await hand.reply(("c-1", "t-1"), "So far", outcome="cancelled")
        assert (await _heard(socket, "done"))["reply"]["outcome"] == "cancelled"
        await socket.send_json({"type": "cancel", "turn_id": "t-1"})
        assert (await _heard(socket, "cancelling"))["reply"]["text"] == "So far"
        await socket.send_json({"type": "cancel"})
        assert (await _heard(socket, "error"))["status"] == 400
    (record,) = await read_topic(cluster, cluster.topics.requests)
    assert decode_turn(record.value).when_busy == "interrupt"


async def _heard(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while (message := await socket.receive_json())["type"] != kind:
            continue
    return dict(message)


LEAVES = {
    "body": ("cancel", {}, {"on_disconnect": "cancel"}, True),
    "header": ("continue", {"Forebay-On-Disconnect": "cancel"}, {}, True),
    "setting": ("cancel", {}, {}, True),
    "body over the rest": ("cancel", {"Forebay-On-Disconnect": "cancel"}, {"on_disconnect": "continue"}, False),
    "nothing said": ("continue", {}, {}, False),
}


@pytest.mark.parametrize(("setting", "headers", "body", "taken_back"), LEAVES.values(), ids=LEAVES.keys())
async def test_a_client_that_leaves_while_it_waits(
    cluster: Cluster, setting: str, headers: dict[str, str], body: dict[str, str], taken_back: bool
) -> None:
    async with serving(cluster, gateway_on_disconnect=setting) as gateway, aiohttp.ClientSession() as session:
        client = Client(gateway, session)
        await _leave(client, cluster, "/conversations/c-1/turns", {"text": "Hello", "wait": 100, **body}, headers)
        if taken_back:
            await until_async(lambda: _taken_back(cluster))
        # The gateway has stopped what it was doing for the connection, and with it all that would be sent.
        await until_async(lambda: _nobody_waits(gateway))
    assert await cancelled_turns(cluster) == (await requested(cluster) if taken_back else [])


async def test_a_client_that_leaves_while_it_streams(cluster: Cluster, gateway: Gateway, hand: Hand) -> None:
    async with sdk(gateway) as client:
        chunks = await client.chat.completions.create(
            model="forebay",
            messages=[{"role": "user", "content": "Hello"}],
            user="c-1",
            stream=True,
            extra_headers={"Forebay-On-Disconnect": "cancel"},
        )
        await until_async(lambda: _asked(cluster, 1))
        (turn_id,) = await requested(cluster)
        await hand.delta(("c-1", turn_id), 0, "So")
        async for chunk in chunks:
            if chunk.choices[0].delta.content == "So":
                break
        assert await cancelled_turns(cluster) == []
        await chunks.close()
        await until_async(lambda: _taken_back(cluster))


async def test_a_client_that_has_its_reply_takes_nothing_back_when_it_leaves(cluster: Cluster, hand: Hand) -> None:
    async with serving(cluster, gateway_on_disconnect="cancel") as gateway, aiohttp.ClientSession() as session:
        client = Client(gateway, session)
        waiting = asyncio.create_task(client.turn("c-1", wait=100))
        await until_async(lambda: _asked(cluster, 1))
        (turn_id,) = await requested(cluster)
        await hand.reply(("c-1", turn_id), "Hello")
        assert (await waiting)["reply"]["text"] == "Hello"
        assert (await client.turn("c-1"))["status"] == "queued", "and one that does not wait never leaves"
        assert (await client.turn("c-1", wait=0.01))["status"] == "queued", "nor one that waited long enough"
    assert await cancelled_turns(cluster) == []


async def test_a_gateway_that_leaves_takes_nothing_back(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as session:
        async with serving(cluster, gateway_on_disconnect="cancel") as gateway:
            client = Client(gateway, session)
            waiting = asyncio.create_task(client.turn("c-1", wait=100))
            await until_async(lambda: _asked(cluster, 1))
        assert (await waiting)["status"] == "queued"
    assert await cancelled_turns(cluster) == []


async def test_an_sdk_that_tries_again_does_not_join_what_it_took_back(
    cluster: Cluster, gateway: Gateway, hand: Hand
) -> None:
    async with sdk(gateway, max_retries=1, timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(
                model="forebay",
                messages=[{"role": "user", "content": "Hello"}],
                user="c-1",
                extra_body={"on_disconnect": "cancel"},
            )
        await until_async(lambda: _asked(cluster, 2))
        await until_async(lambda: _taken_back(cluster))
    assert len(set(await requested(cluster))) == 2


@asynccontextmanager
async def _posted(client: Client, path: str, body: Any, headers: dict[str, str]) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(client.call("POST", path, body, **headers))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _leave(client: Client, cluster: Cluster, path: str, body: Any, headers: dict[str, str]) -> None:
    async with _posted(client, path, body, headers):
        await until_async(lambda: _asked(cluster, 1))


async def _asked(cluster: Cluster, number: int) -> bool:
    return len(await requested(cluster)) == number


async def _taken_back(cluster: Cluster) -> bool:
    return set(await cancelled_turns(cluster)) == set(await requested(cluster))


async def _nobody_waits(gateway: Gateway) -> bool:
    return len(gateway._context.hub) == 0


async def test_who_waits_for_a_merged_turn_is_given_the_answer(client: Client, cluster: Cluster, hand: Hand) -> None:
    waiting = asyncio.create_task(client.turn("c-1", turn_id="t-1", when_busy="merge", wait=100))
    await until_async(lambda: _asked(cluster, 1))
    merged = await hand.reply(("c-1", "t-1"), "", outcome="merged", merged_into="t-2")
    answer = await hand.reply(("c-1", "t-2"), "To both")
    told = await waiting
    assert told["reply"] == merged.model_dump(mode="json")
    assert told["answer"] == answer.model_dump(mode="json")
    assert (await client.call("GET", "/turns/t-1?conversation_id=c-1"))[1]["answer"] == told["answer"]
    assert (await client.turn("c-1", turn_id="t-1", when_busy="merge"))["answer"] == told["answer"]
    assert "answer" not in (await client.call("GET", "/turns/t-2?conversation_id=c-1"))[1]
    (record,) = await read_topic(cluster, cluster.topics.requests)
    assert decode_turn(record.value).when_busy == "merge"


@pytest.mark.parametrize("published_again", [False, True])
async def test_a_completion_has_the_answer_of_the_turn_it_was_merged_into(
    cluster: Cluster, gateway: Gateway, hand: Hand, published_again: bool
) -> None:
    async with sdk(gateway) as client:
        body = {"when_busy": "merge"}
        streamed = asyncio.create_task(stream(client, user="c-1", extra_body=body))
        await until_async(lambda: _asked(cluster, 1))
        (turn_id,) = await requested(cluster)
        order = [(turn_id, {"text": "", "outcome": "merged", "merged_into": "t-2"}), ("t-2", {"text": "To both"})]
        for name, fields in reversed(order) if published_again else order:
            await hand.reply(("c-1", name), **fields)
        chunks = await streamed
        assert words(chunks) == "To both"
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert (told(chunks[-1])["turn_id"], told(chunks[-1])["merged_into"]) == (turn_id, "t-2")


async def test_a_cancelled_completion_ends_with_what_was_said(cluster: Cluster, gateway: Gateway, hand: Hand) -> None:
    async with sdk(gateway) as client:
        asked = {"model": "forebay", "messages": [{"role": "user", "content": "Hello"}]}
        streamed = asyncio.create_task(stream(client, user="c-1"))
        await until_async(lambda: _asked(cluster, 1))
        (turn_id,) = await requested(cluster)
        await hand.delta(("c-1", turn_id), 0, "So far, so good")
        await hand.reply(("c-1", turn_id), "So far", outcome="cancelled")
        chunks = await streamed
        assert words(chunks) == "So far, so good", "what was shown is not taken back"
        assert (chunks[-1].choices[0].finish_reason, told(chunks[-1])["outcome"]) == ("stop", "cancelled")
        whole = asyncio.create_task(client.chat.completions.create(user="c-2", **asked))  # type: ignore[call-overload]
        await until_async(lambda: _asked(cluster, 2))
        other = (set(await requested(cluster)) - {turn_id}).pop()
        await hand.reply(("c-2", other), "", outcome="cancelled", created_at=datetime.now(UTC))
        completion = await whole
        assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == ("", "stop")


async def test_a_worker_ends_what_a_client_takes_back_and_merges_what_it_writes_meanwhile(
    cluster: Cluster, client: Client, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start(concurrency=1)
    slow = await client.turn("c-1", "Tell me all [fault hang]")
    await until(lambda: model_api.stats().in_flight == 1)
    waiting = [
        asyncio.create_task(client.turn("c-1", text, when_busy="merge", wait=100)) for text in ("And?", "Hello??")
    ]
    await until_async(lambda: _asked(cluster, 3))
    status, told = await cancel(client, slow["turn_id"])
    assert (status, told["reply"]["outcome"]) == (200, "cancelled")
    replies = [await each for each in waiting]
    assert sorted(each["reply"]["outcome"] for each in replies) == ["answered", "merged"]
    (answer,) = {each.get("answer", each["reply"])["text"] for each in replies}
    assert "Hello??" in answer or "And?" in answer
    assert model_api.stats().in_flight == 0
