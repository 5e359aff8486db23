"""Tools through the real SDKs: what a model asks for, and how it hears the results, plain and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from forebay.rehearsal.model_api import ModelApi
from forebay.workers.models import Clients, Completion, Message, Model, OnText, Prompt, ToolResult, ToolSpec
from forebay.workers.models.catalogue import Provider

MODELS: dict[Provider, str] = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
STOCK = ToolSpec(
    "get_stock",
    "Pieces of a product in stock.",
    '{"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}',
)
PROMPT = Prompt("Be brief.", (Message("user", 'use tool get_stock {"sku": "SKU001 红"}'),), 200, (STOCK,))


@pytest_asyncio.fixture(params=[*MODELS])
async def model(request: pytest.FixtureRequest, model_api: ModelApi) -> AsyncIterator[Model]:
    clients = Clients(2)
    yield clients.model(MODELS[request.param], request.param, "simulated")
    await clients.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_and_its_result(model: Model, streamed: bool) -> None:
    heard: list[str] = []

    async def complete(prompt: Prompt) -> Completion:
        on_text: OnText | None = heard.append if streamed else None
        return await model.complete(prompt, on_text)

    asked = await complete(PROMPT)
    (call,) = asked.calls
    assert call.name == "get_stock"
    assert orjson.loads(call.arguments) == {"sku": "SKU001 红"}
    result = Message("tool", results=(ToolResult(call.call_id, "12 pieces"),))
    told = await complete(PROMPT.following(Message("assistant", asked.text, asked.calls), result))
    assert not told.calls
    assert "12 pieces" in told.text
    assert told.usage.input_tokens > asked.usage.input_tokens
    assert "".join(heard).endswith(told.text) is streamed


async def test_a_failed_call_and_a_malformed_one_are_told_too(model: Model) -> None:
    asked = await model.complete(PROMPT)
    (call,) = asked.calls
    said = Message("assistant", "", (call._replace(arguments='{"sku": '),))
    told = await model.complete(
        PROMPT.following(said, Message("tool", results=(ToolResult(call.call_id, "no", True),)))
    )
    assert "no" in told.text


async def test_half_of_a_character_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    body = rb'{"content": [{"type": "text", "text": "half \ud83d"}], "stop_reason": "end_turn", "usage": {}}'

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    server = web.ServerRunner(web.Server(answer))
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{port}")
    clients = Clients(1)
    model = clients.model("claude-haiku-4-5", "anthropic", "simulated")
    assert (await model.complete(PROMPT)).text == "half \N{REPLACEMENT CHARACTER}"
    await clients.close()
    await server.cleanup()
