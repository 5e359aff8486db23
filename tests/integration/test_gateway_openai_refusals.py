"""What the gateway refuses of OpenAI's Chat Completions, and that it says so as OpenAI does."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import openai
import pytest

from forebay.gateway import Gateway
from forebay.gateway.http.problem import Problem
from forebay.gateway.openai.refusals import refusal
from forebay.schemas import Cluster

from .gateway import gateway
from .test_gateway_openai import ask, client, said, turns

__all__ = ["client", "gateway"]

COMPLETIONS = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": {}}}]),
        ("functions", [{"name": "f"}]),
        ("logprobs", True),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "mp3"}),
    ],
)
async def test_what_would_change_the_meaning_is_refused(client: openai.AsyncOpenAI, parameter: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(client, **{parameter: value})
    assert (refused.value.param, refused.value.type) == (parameter, "invalid_request_error")


async def test_pictures_are_refused_with_the_fix(client: openai.AsyncOpenAI) -> None:
    picture: Any = [{"type": "image_url", "image_url": {"url": "https://shop.example/x.png"}}]
    with pytest.raises(openai.BadRequestError, match="say in words") as refused:
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": picture}])
    assert refused.value.param == "messages.0.content.0"


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"messages"',
    b"{}",
    b'{"messages": []}',
    b'{"messages": "hi"}',
    b'{"messages": [1]}',
    b'{"messages": [[]]}',
    b'{"messages": [{}]}',
    b'{"messages": [{"role": "user"}]}',
    b'{"messages": [{"role": "user", "content": ""}]}',
    b'{"messages": [{"role": "user", "content": 7}]}',
    b'{"messages": [{"role": "user", "content": [7]}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]}',
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"messages": [{"role": "user", "content": "\xff"}]}',
    b'{"messages": [{"role": ["user"], "content": "x"}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "stream": "yes"}',
    b'{"messages": [{"role": "user", "content": "x"}], "user": ""}',
    b'{"messages": [{"role": "user", "content": "x"}], "user": 7}',
    b'{"messages": [{"role": "user", "content": "x"}], "stream_options": []}',
    b'{"messages": [{"role": "user", "content": "x"}], "n": {"a": 1}}',
    b'{"messages": [{"role": "user", "content": "x"}], "n": NaN}',
    b'{"messages": [{"role": "user", "content": "x"}], "response_format": [[]]}',
    json.dumps({"messages": [{"role": "user", "content": "x" * 32_769}]}).encode(),
    json.dumps({"messages": [{"role": "user", "content": "x"}], "user": "u" * 129}).encode(),
    b'{"messages": ' + b"[" * 60_000 + b"]" * 60_000 + b"}",
]


async def test_hostile_bodies_are_refused_as_openai_does(gateway: Gateway, cluster: Cluster) -> None:
    async with aiohttp.ClientSession(gateway.url, headers={"Content-Type": "application/json"}) as http:
        for body in HOSTILE:
            response = await http.post(COMPLETIONS, data=body)
            assert response.status == 400, body[:80]
            error = (await response.json())["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == "invalid_request_error"
    assert await turns(cluster) == []


async def test_other_refusals_are_told_as_openai_does(gateway: Gateway) -> None:
    async with aiohttp.ClientSession(gateway.url) as http:
        for method, path, more, status in (
            ("GET", COMPLETIONS, {}, 405),
            ("DELETE", "/v1/models/forebay", {}, 405),
            ("POST", "/v1/models", {"json": {}}, 405),
            ("POST", COMPLETIONS, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
            ("POST", COMPLETIONS, {"data": b" " * 300_000, "headers": {"Content-Type": "application/json"}}, 413),
            (
                "POST",
                COMPLETIONS,
                {"json": {"messages": said("x")}, "headers": {"X-Conversation-Id": "\xff" * 200}},
                400,
            ),
        ):
            response = await http.request(method, path, **more)
            assert response.status == status
            assert (await response.json())["error"]["type"] == "invalid_request_error"
            assert (response.headers.get("Allow") is not None) == (status == 405)


def test_a_busy_gateway_says_when_to_come_back() -> None:
    response = refusal(Problem(503, "too many turns wait", code="busy", retry_after_s=2.5, estimated_wait_s=130.0))
    assert (response.headers["Retry-After"], response.headers["retry-after-ms"]) == ("3", "2500")
    assert "x-should-retry" not in response.headers
    assert isinstance(response.body, bytes)
    error = json.loads(response.body)["error"]
    assert (error["type"], error["code"], error["estimated_wait_s"]) == ("server_error", "busy", 130.0)
