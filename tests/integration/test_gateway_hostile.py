"""A thousand hostile inputs: none is answered 5xx, none takes the gateway down, none opens what is not theirs."""

from __future__ import annotations

import asyncio
import io
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from forebay.gateway import Gateway
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Cluster

from .conftest import Fleet
from .gateway import SECRET, Hand, serving, token, write_keys
from .test_fleet import unreadable_header
from .test_gateway import Client

SECRET_TEXT = "what only c-secret may read"
PATHS = (
    "/v1/conversations/c-secret/turns",
    "/v1/conversations/c-secret/confirm",
    "/v1/conversations/c-1/turns",
    "/v1/conversations/c-1/confirm",
    "/v1/chat/completions",
    "/v1/ui/chat",
    "/console/api/commands",
    "/console/api/dead-letters/replay",
)


def bodies(rng: random.Random) -> bytes:
    """Something that is nearly what it should be, or not at all."""
    good: dict[str, Any] = {"text": "x", "turn_id": f"t-{rng.random()}", "stream": True, "attributes": {}}
    wrong: tuple[Any, ...] = (
        None,
        7,
        -1,
        1e308,
        [],
        {},
        "",
        "x" * 40_000,
        "\ud800",
        "\x00",
        True,
        {"a": {"b": {}}},
        "2026-99-99",
        "c-secret",
    )
    for _ in range(rng.randrange(1, 4)):
        good[rng.choice([*good, "action_id", "accept", "wait", "messages", "user", "id", "conversation_id"])] = (
            rng.choice(wrong)
        )
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return b"[" * rng.randrange(1, 100_000)
    if kind == 2:
        return orjson.dumps([1, 2])[: rng.randrange(5)]
    try:
        body = orjson.dumps(good)
    except TypeError:  # half of a character
        body = str(good).replace("'", '"').encode("utf-8", "surrogatepass")
    if kind == 3 and body:
        at = rng.randrange(len(body))
        return body[:at] + rng.randbytes(3) + body[at:]
    return body


def tokens(rng: random.Random) -> str:
    """What opens nothing of `c-secret`."""
    parts = token("c-1").split(".")
    return rng.choice(
        (
            token("c-1"),
            token("c-secre"),
            token("c-secretly", "c-"),
            token("c-1", exp=1),
            token("c-secret")[:-3],
            jwt.encode({"exp": 9e9, "conversations": ["c-secret"]}, "", "none", headers={"kid": "k1"}),
            jwt.encode({"exp": 9e9, "conversations": ["c-secret"]}, b"k" * 40, "HS256", headers={"kid": "k1"}),
            jwt.encode({"exp": 9e9, "conversations": ["c-secret"]}, SECRET * 2, "HS512", headers={"kid": "k1"}),
            jwt.encode({"exp": 9e9, "conversations": ["c-secret"]}, SECRET, "HS256", headers={"kid": "../keys"}),
            f"{parts[0]}.{parts[1]}.",
            f"{parts[0]}..{parts[2]}",
            "..",
            "a.b.c",
            "server-key1",
            "Server-Key",
            "x" * 7000,
            "ü",
        )
    )


@pytest.mark.parametrize("seed", range(2))
async def test_fuzzed_bodies_and_tokens(cluster: Cluster, tmp_path: Path, hand: Hand, seed: int) -> None:
    rng, answers = random.Random(seed), Counter[int]()
    await hand.reply(("c-secret", "t-secret"), SECRET_TEXT)
    async with keyed(cluster, tmp_path) as gateway, aiohttp.ClientSession() as session:
        for _ in range(500):
            method, path = rng.choice(("POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD")), rng.choice(PATHS)
            if method == "GET":
                path = rng.choice(
                    (
                        "/v1/turns/t-secret",
                        "/v1/turns/t-secret?conversation_id=c-secret",
                        "/v1/conversations/c-secret/events?last_event_id=0-0",
                        f"/v1/conversations/c-1/events?last_event_id={rng.choice(('x', '-', '1-1-1', '9' * 30))}",
                        "/v1/conversations/c-secret/ws",
                        "/v1/ui/chat/c-secret/stream",
                        "/console/api/live",
                        "/pages/..%2Fsettings.py",
                        "/pages/%2e%2e/app.py",
                        "/" + "x" * rng.randrange(1, 3000),
                    )
                )
            headers = {"Content-Type": rng.choice(("application/json", "application/json", "text/plain", "x"))}
            headers["Authorization"] = rng.choice(("Bearer ", "Bearer ", "Bearer", "Basic ")) + tokens(rng)
            if rng.random() < 0.3:
                headers["Authorization"] = f"Bearer {token('c-1')}"
            if rng.random() < 0.2:
                headers["Idempotency-Key"] = rng.choice(("", "x" * 300, "k"))
            async with session.request(method, gateway.url + path, data=bodies(rng), headers=headers) as response:
                answers[response.status] += 1
                assert response.status < 500, (method, path, await response.text())
                if response.content_type != "text/event-stream":
                    assert SECRET_TEXT not in await response.text(errors="replace")
                assert response.status >= 400 or "c-secret" not in path
        async with session.get(gateway.url + "/openapi.json") as response:
            assert response.status == 200
    assert sum(answers.values()) == 500
    assert answers[202] > 0  # some were good after all


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/x" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"\r\n",
        b"POST /v1/conversations/c/turns HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/conversations/c/turns HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/conversations/c/turns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    ],
)
async def test_what_is_no_http(cluster: Cluster, sent: bytes) -> None:
    async with serving(cluster, gateway_body_s=0.5) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert not answer or b" 4" in answer.split(b"\r\n")[0]
        writer.close()
        await _well(gateway)


async def test_a_body_that_comes_a_byte_at_a_time_is_not_waited_for(cluster: Cluster) -> None:
    async with serving(cluster, gateway_body_s=0.5) as gateway:
        head = b"POST /v1/conversations/c/turns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n"
        slow = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(50)]
        for _, writer in slow:
            writer.write(head + b"{")
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(reader.readuntil(b"\r\n") for reader, _ in slow))
        assert {answer.split()[1] for answer in answers} == {b"408"}
        for _, writer in slow:
            writer.close()
        await _well(gateway)


async def test_a_head_that_never_ends_is_not_waited_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.gateway.gateway.IDLE_S", 0.5)
    async with serving(cluster) as gateway:
        slow = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(50)]
        for _, writer in slow:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        async with asyncio.timeout(10):
            assert set(await asyncio.gather(*(reader.read() for reader, _ in slow))) == {b""}
        for _, writer in slow:
            writer.close()
        await _well(gateway)


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(cluster: Cluster) -> None:
    async with serving(cluster) as gateway, aiohttp.ClientSession() as session:
        for size in (300_000, 5_000_000):
            headers = {"Content-Type": "application/json"}
            async with session.post(
                f"{gateway.url}/v1/conversations/c/turns", data=io.BytesIO(b"x" * size), headers=headers
            ) as answer:
                assert answer.status == 413
        await _well(gateway)


async def test_records_that_cannot_be_read_make_a_gateway_deaf_for_nobody(cluster: Cluster, hand: Hand) -> None:
    topics = cluster.topics
    async with serving(cluster) as gateway, aiohttp.ClientSession() as session:
        client = Client(gateway, session)
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(client.reading(f"c-{number}")) for number in range(12)]
            for round_ in range(2):
                producer = AIOKafkaProducer(**cluster.connection())
                await producer.start()
                for topic in (topics.requests, topics.replies, topics.deltas):
                    await unreadable_header(producer, topic)
                    for value in (b"", b"[]", b"7", b'{"turn_id":7}', b'{"turn_id":"t","sequence":"x"}', b"\xff", None):
                        await producer.send_and_wait(topic, value, key=b"c-1")
                await producer.stop()
                for number in range(12):
                    await hand.delta((f"c-{number}", f"t-{round_}"), 0, "words")
                    await hand.reply((f"c-{number}", f"t-{round_}"), "words")
                for reader in readers:
                    while (await reader.next("done"))["turn_id"] != f"t-{round_}":
                        continue
        assert gateway.live() is None
        await _well(gateway)


def keyed(cluster: Cluster, folder: Path, **settings: Any) -> Any:
    """A gateway that asks for tokens or keys."""
    return serving(cluster, gateway_keys=write_keys(folder), gateway_api_keys="shop=server-key", **settings)


async def _well(gateway: Gateway) -> None:
    """It still answers."""
    async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/openapi.json") as response:
        assert response.status == 200


@pytest.mark.takes(15)
async def test_schemathesis_finds_nothing(cluster: Cluster, fleet: Fleet, model_api: ModelApi) -> None:
    """Every operation that is described, with what is described and what is not."""
    await fleet.start()
    # The body may be larger than any that is described: what is wrong with one is told, not that it is large.
    limits = {"gateway_turns_a_second": 1e6, "gateway_tenant_turns_a_second": 1e6, "gateway_body_kib": 16_384}
    async with serving(cluster, store=fleet.store_url, **limits) as gateway:
        command = (
            *("schemathesis", "run", f"{gateway.url}/openapi.json", "--max-examples", "10", "--seed", "7"),
            *("--exclude-path-regex", "/events|/ws|/stream", "--request-timeout", "10", "--generation-deterministic"),
        )
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name(command[0])),
            *command[1:],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, "\n".join(line[:400] for line in said.decode().splitlines())
