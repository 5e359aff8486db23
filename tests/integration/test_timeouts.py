"""Timeouts and cancellation with the real SDKs: each bound says its name, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import pytest_asyncio

from forebay.rehearsal.model_api import ModelApi
from forebay.workers.models import Clients, Message, Model, ModelError, Prompt, Timeouts, Trouble
from forebay.workers.models.catalogue import Provider
from forebay.workers.models.http import IDLE_S
from forebay.workers.settings import WorkerSettings

from .conftest import until

PROMPT = Prompt("Be brief.", (Message("user", "Tell me about the blue one " * 8),), 200)
SMALL = Timeouts(connect_s=0.2, tls_s=0.4, first_token_s=0.8, between_tokens_s=0.5, call_s=1.2)
PATIENT = Timeouts(connect_s=60, tls_s=60, first_token_s=60, between_tokens_s=60, call_s=60)
MODELS: dict[Provider, str] = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}

Connect = Callable[..., Model]


@pytest.fixture(params=[*MODELS])
def provider(request: pytest.FixtureRequest) -> Provider:
    name: Provider = request.param
    return name


class Connections:
    """The clients of a test, and what they hold."""

    def __init__(self) -> None:
        self.all: list[Clients] = []

    def model(self, provider: Provider, timeouts: Timeouts = SMALL, connections: int = 5) -> Model:
        self.all.append(Clients(connections, timeouts))
        return self.all[-1].model(MODELS[provider], provider, "simulated")

    def connector(self) -> Any:
        """Of the client made last, after its first call."""
        (client,) = self.all[-1]._clients.values()
        return client._client._transport.client.connector

    def held(self) -> int:
        """Connections with a call on them."""
        return len(self.connector()._acquired)


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Connections]:
    made = Connections()
    yield made
    for client in made.all:
        await client.close()


SOON_S = 5.0
"""By how much a bound may be late on a busy machine; that it was the right one, its error's text tells."""


async def failure(model: Model, *, stream: bool = False) -> tuple[ModelError, float]:
    began = time.perf_counter()
    with pytest.raises(ModelError) as raised:
        await model.complete(PROMPT, (lambda _: None) if stream else None)
    return raised.value, time.perf_counter() - began


def point_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", address)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{address}/v1")


@contextmanager
def unreachable() -> Iterator[int]:
    """A port whose queue is full: connecting to it is not refused and never done."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for each in waiting:
            each.close()


def test_the_defaults() -> None:
    assert WorkerSettings().timeouts() == Timeouts() == Timeouts(3.0, 5.0, 30.0, 10.0, 60.0)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_connecting_is_bounded(
    clients: Connections, provider: Provider, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unreachable() as port:
        point_to(monkeypatch, f"{scheme}://127.0.0.1:{port}")
        error, took_s = await failure(clients.model(provider, Timeouts(connect_s=0.2, tls_s=10.0)))
    assert error.trouble is Trouble.CONNECTION
    assert 0.2 <= took_s < 0.2 + SOON_S
    assert "FOREBAY_CONNECT_TIMEOUT_S" in str(error)
    assert clients.held() == 0


async def test_the_tls_handshake_is_bounded(
    clients: Connections, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_to(monkeypatch, f"https://127.0.0.1:{silent.getsockname()[1]}")
        error, took_s = await failure(clients.model(provider))
    assert error.trouble is Trouble.CONNECTION
    assert SMALL.tls_s <= took_s < SMALL.tls_s + SOON_S
    assert "FOREBAY_TLS_TIMEOUT_S" in str(error)
    assert clients.held() == 0


@pytest.mark.parametrize(
    ("fault", "after", "stream", "setting", "bound_s"),
    [
        ("hang", None, True, "FOREBAY_FIRST_TOKEN_TIMEOUT_S", SMALL.first_token_s),
        ("slow_first_token", None, True, "FOREBAY_FIRST_TOKEN_TIMEOUT_S", SMALL.first_token_s),
        ("hang", None, False, "FOREBAY_CALL_TIMEOUT_S", SMALL.call_s),
        ("slow_first_token", None, False, "FOREBAY_CALL_TIMEOUT_S", SMALL.call_s),
    ],
)
async def test_each_wait_is_bounded_and_says_its_name(
    clients: Connections,
    provider: Provider,
    model_api: ModelApi,
    fault: str,
    after: int | None,
    stream: bool,
    setting: str,
    bound_s: float,
) -> None:
    model_api.add_fault(fault, count=1, after=after)
    model = clients.model(provider)
    error, took_s = await failure(model, stream=stream)
    assert error.trouble is Trouble.TIMEOUT
    assert setting in str(error)
    assert f"{bound_s:g} s" in str(error)
    assert bound_s <= took_s < bound_s + SOON_S
    assert clients.held() == 0
    await until(lambda: model_api.stats().in_flight == 0)
    assert (await model.complete(PROMPT)).text


class Talker:
    """A bare server: a good start of an anthropic stream, then what the test says."""

    HEAD = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
        b'"model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    )
    DELTA = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"word "}}\n\n'
    )
    PING = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, *, words: int, then: bytes, gap_s: float) -> None:
        self.words, self.then, self.gap_s = words, then, gap_s
        self.left = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(self.HEAD)
        reading = asyncio.ensure_future(reader.read())
        for number in range(1_000):
            writer.write(self.DELTA if number < self.words else self.then)
            if (await asyncio.wait([reading], timeout=self.gap_s))[0]:
                break
        self.left.set()
        writer.close()


@pytest.mark.parametrize(
    ("words", "then", "setting", "bound_s"),
    [
        (2, b"", "FOREBAY_BETWEEN_TOKENS_TIMEOUT_S", 0.5),
        (2, Talker.PING, "FOREBAY_BETWEEN_TOKENS_TIMEOUT_S", 0.5),  # pings are no tokens
        (0, Talker.PING, "FOREBAY_FIRST_TOKEN_TIMEOUT_S", 0.8),
        (1_000, b"", "FOREBAY_CALL_TIMEOUT_S", 1.2),  # never silent, never done
    ],
)
async def test_a_stream_that_stalls_or_never_ends(
    clients: Connections, words: int, then: bytes, setting: str, bound_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    talker = Talker(words=words, then=then, gap_s=0.05)
    async with await asyncio.start_server(talker, "127.0.0.1", 0) as server:
        point_to(monkeypatch, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        error, took_s = await failure(clients.model("anthropic"), stream=True)
        assert error.trouble is Trouble.TIMEOUT
        assert setting in str(error)
        assert bound_s <= took_s < bound_s + SOON_S
        assert clients.held() == 0
        await asyncio.wait_for(talker.left.wait(), 5.0)


@pytest.mark.parametrize("fault", ["early_end", "cut", "malformed", "stream_error"])
async def test_only_a_stream_with_its_end_counts(
    clients: Connections, provider: Provider, model_api: ModelApi, fault: str
) -> None:
    model = clients.model(provider)
    model_api.add_fault(fault, count=1, after=4)
    error, _ = await failure(model, stream=True)
    assert error.trouble in (Trouble.MALFORMED, Trouble.CONNECTION, Trouble.OVERLOADED)
    assert clients.held() == 0
    assert (await model.complete(PROMPT, lambda _: None)).finish_reason in ("end_turn", "stop")


async def test_the_pool_has_a_connection_for_each_permit(
    clients: Connections, provider: Provider, model_api: ModelApi
) -> None:
    model = clients.model(provider, Timeouts(), connections=7)
    await asyncio.gather(*(model.complete(PROMPT) for _ in range(20)))
    connector = clients.connector()
    assert connector.limit == 7
    assert connector.limit_per_host == 0
    assert connector._keepalive_timeout == IDLE_S == 300.0
    assert model_api.stats().peak_in_flight == 7
    (idle,) = connector._conns.values()
    for protocol, _ in idle:
        made = protocol.transport.get_extra_info("socket")
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60


@pytest.mark.parametrize(("provider", "cancels"), [("anthropic", 10_000), ("openai", 2_000)])
@pytest.mark.takes(18)
async def test_cancelling_leaves_nothing_behind(
    clients: Connections, provider: Provider, cancels: int, model_api: ModelApi
) -> None:
    """At every moment of a call: while it connects, sends, waits, streams, and just when it is done."""
    at_once = 250
    model, dice = clients.model(provider, PATIENT, connections=at_once), random.Random(7)
    await model.complete(PROMPT)
    model_api.add_fault("hang", share=0.5)
    process = psutil.Process()
    tasks, sockets = len(asyncio.all_tasks()), process.num_fds()
    for _ in range(cancels // at_once):
        calls = [
            asyncio.create_task(model.complete(PROMPT, (lambda _: None) if number % 5 == 0 else None))
            for number in range(at_once)
        ]
        for number, call in enumerate(calls):
            if number % 10 == 0:
                await asyncio.sleep(dice.choice([0.0, 0.0, 0.002]))
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) or not isinstance(end, BaseException) for end in ended)
        assert clients.held() == 0
        assert process.num_fds() <= sockets + 2 * at_once
    await until(lambda: model_api.stats().in_flight == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    await until(lambda: process.num_fds() <= sockets + 2 * len(clients.connector()._conns) * at_once)
    assert not clients.connector()._waiters
    model_api.clear_faults()
    assert (await asyncio.wait_for(model.complete(PROMPT), 5.0)).text
