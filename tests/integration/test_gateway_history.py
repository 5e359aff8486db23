"""What was said, read back over HTTP, and forgotten over HTTP: at this gateway and at others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from forebay.gateway import Gateway
from forebay.gateway.stream.record import Stream
from forebay.schemas import Cluster
from forebay.workers.conversations import Entry, Exchange, State, Store, StoredReply, open_store

from .conftest import until
from .gateway import Hand, serving, token, write_keys
from .test_gateway import Client, session

__all__ = ["session"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'conversations.db'}"


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = open_store(url)
    for number, (said, answer) in enumerate([("Hello", "Hi"), ("I am [NAME_1]", "Hello [NAME_1]"), ("Bye", "Goodbye")]):
        exchange, state = Exchange(said, answer), State(vault={"NAME_1": "Ann"})
        await opened.record(Entry("c-1", f"t-{number}", StoredReply("answered", b"{}"), exchange, state=state))
    await opened.remember_message("c-1", "m-1", "Bob", "Still there?", time.time())
    yield opened
    await opened.close()


async def test_what_was_said_is_read_in_pages_with_its_values(
    cluster: Cluster, session: aiohttp.ClientSession, store: Store, url: str
) -> None:
    async with serving(cluster, store=url) as gateway:
        client = Client(gateway, session)
        status, page, _ = await client.call("GET", "/conversations/c-1?limit=3")
        assert (status, page["conversation_id"], page["handed_off"]) == (200, "c-1", None)
        assert [one.get("turn_id") or one["message_id"] for one in page["exchanges"]] == ["t-1", "t-2", "m-1"]
        first, _, message = page["exchanges"]
        assert (first["text"], first["answer"]) == ("I am Ann", "Hello Ann")
        assert (message["name"], message["text"]) == ("Bob", "Still there?")
        assert all(one["at"].endswith("+00:00") for one in page["exchanges"])
        older = (await client.call("GET", f"/conversations/c-1?before={page['before']}"))[1]
        assert [one["turn_id"] for one in older["exchanges"]] == ["t-0"]
        assert older["before"] is None
        empty = (await client.call("GET", "/conversations/c-2"))[1]
        assert (empty["exchanges"], empty["before"]) == ([], None)
        for wrong in ("limit=0", "limit=201", "limit=x", "before=-1", "before=x"):
            assert (await client.call("GET", f"/conversations/c-1?{wrong}"))[0] == 400


async def test_a_gateway_without_the_store_says_so_and_serves_turns(
    cluster: Cluster, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    missing = tmp_path / "none.db"
    async with serving(cluster, store=f"sqlite:///{missing}") as gateway:
        client = Client(gateway, session)
        for method in ("GET", "DELETE"):
            status, problem, _ = await client.call(method, "/conversations/c-1")
            assert (status, problem["code"]) == (503, "no_store")
            assert "FOREBAY_STORE" in problem["detail"]
            assert str(missing) not in problem["detail"]
        await client.turn("c-1")
    assert not missing.exists()


async def test_who_may_read_and_who_may_erase(
    cluster: Cluster, session: aiohttp.ClientSession, store: Store, url: str, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"gateway_keys": write_keys(tmp_path), "gateway_api_keys": "shop=key-of-the-shop"}
    async with serving(cluster, store=url, **keys) as gateway:
        client = Client(gateway, session)

        async def status(method: str, key: str) -> int:
            return (await client.call(method, "/conversations/c-1", Authorization=f"Bearer {key}"))[0]

        assert await status("GET", token("c-2")) == 403
        assert await status("DELETE", token("c-1")) == 403
        assert await status("GET", token("c-1")) == 200
        assert await status("DELETE", token(scope="admin")) == 200
        assert await status("DELETE", "key-of-the-shop") == 200


async def test_what_is_erased_is_gone_at_every_gateway(
    cluster: Cluster, session: aiohttp.ClientSession, store: Store, hand: Hand, url: str
) -> None:
    async with serving(cluster, store=url) as here, serving(cluster, store=url) as there:
        one, other = Client(here, session), Client(there, session)
        await one.turn("c-1", "my secret", turn_id="t-9")
        await one.turn("c-2", "stays", turn_id="t-9")
        await hand.reply(("c-1", "t-9"), "your secret")
        for gateway in (here, there):
            await until(lambda: holds(gateway, "c-1") == 2)  # noqa: B023
        status, receipt, _ = await one.call("DELETE", "/conversations/c-1")
        assert (status, receipt["complete"]) == (200, True)
        (erased,) = receipt["conversations"]
        assert erased["removed"]["exchanges"] == 3
        assert {hold["topic"] for hold in receipt["topics"]} >= {cluster.topics.requests, cluster.topics.replies}
        for gateway in (here, there):
            await until(lambda: holds(gateway, "c-1") == 0)  # noqa: B023
            assert holds(gateway, "c-2") == 1
        assert (await other.call("GET", "/conversations/c-1"))[1]["exchanges"] == []
        assert (await other.call("GET", "/turns/t-9"))[1]["conversation_id"] == "c-2"
        await one.turn("c-1", "another", turn_id="t-9")


def holds(gateway: Gateway, conversation: str) -> int:
    """Records of the conversation in the gateway's memory."""
    recent = gateway._context.hub._tail.recent
    return sum(len(recent[stream].of(conversation.encode())) for stream in Stream)
