"""The simulated API as an HTTP/1.1 server: what a client of its own making can expect."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import aiohttp
import orjson
import pytest

from forebay.rehearsal.model_api import KeyStats, ModelApi, ModelApiError, ModelApiSettings, parse_reply, serve
from forebay.rehearsal.model_api.http.http_message import MAX_BODY_BYTES

KEYS = "x-api-key: k\r\nanthropic-version: 2023-06-01\r\n"
HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
KEY_STATS = asdict(KeyStats())


@pytest.fixture
async def api() -> AsyncIterator[ModelApi]:
    async with ModelApi(ModelApiSettings(latency_ms=0, token_ms=0)) as running:
        yield running


@pytest.fixture
async def http(api: ModelApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api.url) as session:
        yield session


def call(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 400, "messages": [{"role": "user", "content": text}], **more}


def request(text: str, extra: str = "", version: str = "1.1", **more: Any) -> bytes:
    body = orjson.dumps(call(text, **more))
    head = f"POST /v1/messages HTTP/{version}\r\nhost: x\r\n{KEYS}{extra}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def talk(api: ModelApi, sent: bytes) -> bytes:
    """What the server answers to `sent` until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most 5 seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_pipelined_requests_are_answered_in_order(api: ModelApi) -> None:
    texts = [f"number {number}" for number in range(200)]
    sent = b"".join(map(request, texts)) + request("last", "connection: close\r\n")
    answer = await talk(api, sent)
    replies = [orjson.loads(part[part.index(b"\r\n\r\n") + 4 :]) for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    quoted = [reply["content"][0]["text"] for reply in replies]
    assert quoted == [f"[turn 1] I understand: “{text}”." for text in [*texts, "last"]]


async def test_pipelined_requests_wait_for_their_turn_behind_a_stream() -> None:
    async with ModelApi(ModelApiSettings(latency_ms=2, token_ms=0.1)) as slow:
        answer = await talk(slow, request("first", stream=True) + request("second", "connection: close\r\n"))
        assert answer.index(b"message_stop") < answer.index("“second”".encode())
        assert slow.stats().peak_in_flight == 1


async def test_a_body_may_come_in_chunks_and_bytes_one_by_one(api: ModelApi) -> None:
    body = orjson.dumps(call("chunked"))
    head = f"POST /v1/messages?beta=true HTTP/1.1\r\n{KEYS}transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    sent = head.encode() + b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for byte in sent:
        writer.write(bytes([byte]))
        await writer.drain()
    assert "“chunked”".encode() in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_expect_continue_is_answered_before_the_body(api: ModelApi) -> None:
    head, body = request("patient", "expect: 100-continue\r\nconnection: close\r\n").split(b"\r\n\r\n", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await writer.wait_closed()


async def test_http_1_0_is_answered_until_the_close(api: ModelApi) -> None:
    answer = await talk(api, request("old", version="1.0", stream=True))
    assert b"transfer-encoding" not in answer
    assert answer.rstrip().endswith(b'data: {"type":"message_stop"}')


async def test_a_body_over_the_limit_gets_413(api: ModelApi) -> None:
    head = f"POST /v1/messages HTTP/1.1\r\n{KEYS}content-length: {MAX_BODY_BYTES + 1}\r\n"
    whole = await talk(api, head.encode() + b"\r\n" + bytes(MAX_BODY_BYTES + 1))
    assert whole.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in whole
    early = await talk(api, head.encode() + b"expect: 100-continue\r\n\r\n")
    assert early.startswith(b"HTTP/1.1 413 ")


async def test_what_is_no_http_is_refused(api: ModelApi) -> None:
    assert (await talk(api, b"hello there\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("POST", "/v1/messages", {}, 401, "authentication_error"),
        ("POST", "/v1/messages", {"x-api-key": "k"}, 400, "invalid_request_error"),
        ("POST", "/v1/messages", HEADERS, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {}, 401, "invalid_request_error"),
        ("POST", "/v1/chat/completions", {"authorization": "Bearer k"}, 400, "invalid_request_error"),
        ("GET", "/v1/messages", HEADERS, 405, "invalid_request_error"),
        ("GET", "/v1/nothing", HEADERS, 404, "not_found_error"),
        ("GET", "/v1/nothing", {}, 404, "invalid_request_error"),
        ("GET", "/v1/models", {}, 401, "invalid_request_error"),
    ],
)
async def test_refusals_have_the_bodies_of_their_vendor(
    http: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    async with http.request(method, path, headers=headers, data=b"{not json") as answer:
        body = await answer.json()
        assert (answer.status, body["error"]["type"]) == (status, kind)
        assert ("request_id" in body) == (body.get("type") == "error")


async def test_head_gets_headers_alone(http: aiohttp.ClientSession) -> None:
    async with http.head("/healthz") as answer:
        assert (answer.status, answer.headers["content-length"], await answer.read()) == (200, "15", b"")
    async with http.head("/v1/messages") as answer:
        assert (answer.status, await answer.read()) == (405, b"")


async def test_faults_are_set_and_dropped_over_http(http: aiohttp.ClientSession) -> None:
    rule = {"kind": "rate_limit", "count": 1, "match": "parcel", "seconds": 7}
    async with http.post("/faults", json=rule) as answer:
        assert (await answer.json())["faults"][0]["count"] == 1
    statuses = []
    for text in ("hello", "my parcel", "my parcel"):
        async with http.post("/v1/messages", json=call(text), headers=HEADERS) as answer:
            statuses.append((answer.status, answer.headers.get("retry-after")))
    assert statuses == [(200, None), (429, "7"), (200, None)]
    async with http.post("/faults", json=[{"kind": "overloaded"}, {"kind": "hang"}]) as answer:
        assert len((await answer.json())["faults"]) == 2
    async with http.delete("/faults") as answer:
        assert await answer.json() == {"faults": []}
    async with http.post("/faults", json={"kind": "explode"}) as answer:
        assert answer.status == 400
        assert "unknown fault 'explode'" in (await answer.json())["error"]


async def test_stats_tell_the_calls_of_each_turn(http: aiohttp.ClientSession) -> None:
    for text in ("a", "b", "a"):
        async with http.post("/v1/messages", json=call(text), headers=HEADERS) as answer:
            assert answer.status == 200
    async with http.get("/stats") as answer:
        assert await answer.json() == {
            "calls": {"anthropic": {"ok": 3}, "openai": {}},
            "begun": 3,
            "in_flight": 0,
            "peak_in_flight": 1,
            "accepted": 3,
            "refused": {"in_flight": 0, "requests": 0, "tokens": 0, "outage": 0},
            "working": 0,
            "peak_working": 1,
            "window_tokens": 0,
            "peak_window_tokens": 0,
            "keys": {"anthropic": {"k": KEY_STATS | {"accepted": 3}}},
            "distinct_turns": 2,
            "turns": {"a": 2, "b": 1},
        }
    async with http.get("/stats?turns=repeated") as answer:
        assert (await answer.json())["turns"] == {"a": 2}
    async with http.get("/stats?turns=some") as answer:
        assert answer.status == 400


async def test_a_share_of_the_calls_fails_the_same_way_for_the_same_seed() -> None:
    runs = []
    for _ in range(2):
        settings = ModelApiSettings(latency_ms=0, faults={"overloaded": 0.3})
        async with ModelApi(settings) as api, aiohttp.ClientSession(api.url) as http:
            statuses = []
            for number in range(100):
                async with http.post("/v1/messages", json=call(str(number)), headers=HEADERS) as answer:
                    statuses.append(answer.status)
            runs.append(statuses)
    assert runs[0] == runs[1]
    assert 15 < runs[0].count(529) < 45


async def test_a_request_the_simulation_cannot_read_gets_500(
    http: aiohttp.ClientSession, api: ModelApi, caplog: pytest.LogCaptureFixture
) -> None:
    strange = {"model": "m", "messages": [{"role": "assistant", "content": "x", "tool_calls": ["not an object"]}]}
    async with http.post("/v1/chat/completions", json=strange, headers={"authorization": "Bearer k"}) as answer:
        assert answer.status == 500
    assert "the simulated model API failed on a call" in caplog.text
    assert api.stats().in_flight == 0


async def test_a_client_that_leaves_is_counted_as_abandoned() -> None:
    async with ModelApi(ModelApiSettings(latency_ms=60_000)) as api:
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(request("never mind"))
        await until(lambda: api.stats().in_flight == 1)
        writer.close()
        await until(lambda: api.stats().in_flight == 0)
        assert api.stats().calls["anthropic"] == {"abandoned": 1}


async def test_closing_ends_every_connection_and_timer() -> None:
    api = ModelApi(ModelApiSettings(latency_ms=60_000))
    await api.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(request("too late"))
    await until(lambda: api.stats().in_flight == 1)
    await api.close()
    await api.close()
    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert api.stats().in_flight == 0


async def test_the_latency_used_is_told_and_kept(http: aiohttp.ClientSession) -> None:
    async with (
        ModelApi(ModelApiSettings(latency_ms=20, jitter=0.5)) as api,
        http.post(f"{api.url}/v1/messages", json=call("hi"), headers=HEADERS) as answer,
    ):
        assert 10 <= float(answer.headers["x-model-ms"]) <= 30
        assert parse_reply((await answer.json())["content"][0]["text"]).turn == 1


async def test_a_port_in_use_is_told_in_one_line(api: ModelApi) -> None:
    with pytest.raises(ModelApiError, match=f"port {api.port} on 127.0.0.1 is in use: choose another with --port"):
        await ModelApi(ModelApiSettings(port=api.port)).start()


async def test_a_host_that_is_not_ours_is_told_in_one_line() -> None:
    with pytest.raises(ModelApiError, match=r"cannot listen on 192\.0\.2\.1, port 0: "):
        await ModelApi(ModelApiSettings(host="192.0.2.1")).start()


async def test_serve_runs_until_it_is_stopped() -> None:
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(ModelApiSettings(), ready.set_result, stop))
    async with aiohttp.ClientSession() as http, http.get(f"{await ready}/healthz") as answer:
        assert answer.status == 200
    stop.set()
    await serving
