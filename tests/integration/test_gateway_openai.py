"""The gateway as OpenAI's Chat Completions, through the unmodified SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam

from forebay.gateway import Gateway
from forebay.gateway.turns import underway
from forebay.rehearsal.model_api import ModelApi, parse_reply
from forebay.schemas import Cluster, decode_turn
from forebay.workers.assistants import Assistant, HandOff, tool

from .conftest import Fleet, read_topic
from .gateway import Hand, gateway, hand, serving, token, write_keys

__all__ = ["gateway", "hand"]


def sdk(gateway: Gateway, key: str = "none", **more: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=f"{gateway.url}/v1", **{"max_retries": 0} | more)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(gateway) as client:
        yield client


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


async def ask(client: openai.AsyncOpenAI, text: str = "Hello", **more: Any) -> ChatCompletion:
    completion: ChatCompletion = await client.chat.completions.create(model="forebay", messages=said(text), **more)
    return completion


async def stream(client: openai.AsyncOpenAI, text: str = "Hello", **more: Any) -> list[ChatCompletionChunk]:
    chunks = await client.chat.completions.create(model="forebay", messages=said(text), stream=True, **more)
    return [chunk async for chunk in chunks]


def words(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def told(completion: ChatCompletion | ChatCompletionChunk) -> dict[str, Any]:
    """What Forebay adds."""
    extension: dict[str, Any] = (completion.model_extra or {})["forebay"]
    return extension


async def turns(cluster: Cluster) -> list[str]:
    return [decode_turn(record.value).text for record in await read_topic(cluster, cluster.topics.requests)]


async def test_a_completion_is_a_turn(client: openai.AsyncOpenAI, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()
    completion = await ask(client, "Is it in stock?", user="u-77", temperature=0.2, max_tokens=50)
    (choice,) = completion.choices
    assert completion.object == "chat.completion"
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert "Is it in stock?" in (choice.message.content or "")
    assert completion.model == "claude-haiku-4-5", "the model that answered"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 10
    assert completion.id == f"chatcmpl-{told(completion)['turn_id']}"
    assert {**told(completion), "turn_id": ""} == {
        "turn_id": "",
        "conversation_id": "u-77",
        "outcome": "answered",
        "route": "simple",
        "action": None,
    }


async def test_the_synchronous_client_works_too(gateway: Gateway, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()

    def talk() -> tuple[str, str]:
        with openai.OpenAI(api_key="none", base_url=f"{gateway.url}/v1") as client:
            whole = client.chat.completions.create(model="gpt-4o", messages=said("Hello"), user="u-1")
            chunks = list(client.chat.completions.create(model="x", messages=said("Again"), user="u-1", stream=True))
            return whole.choices[0].message.content or "", words(chunks)

    first, second = await asyncio.to_thread(talk)
    assert (parse_reply(first).turn, parse_reply(second).turn) == (1, 2)
    assert parse_reply(second).earlier == ["Hello"], "the conversation knows what was said before"


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_has_the_role_first_then_the_words_then_why_it_ended(
    client: openai.AsyncOpenAI, gateway: Gateway, fleet: Fleet, model_api: ModelApi, usage: bool
) -> None:
    await fleet.start()
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = await stream(client, "Tell me of your shoes", **options)
    first, last = chunks[0], chunks[-2 if usage else -1]
    assert first.choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][:-1] == [None] * (
        len(chunks) - 1 - usage
    )
    assert last.choices[0].finish_reason == "stop"
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 1, "as they were said"
    async with aiohttp.ClientSession(gateway.url) as http:
        about = told(chunks[-1])
        where = f"/v1/turns/{about['turn_id']}?conversation_id={about['conversation_id']}"
        reply = (await (await http.get(where)).json())["reply"]
    assert words(chunks) == reply["text"]
    assert (chunks[-1].choices == []) is usage
    assert (chunks[-1].usage is not None) is usage


async def test_the_sdks_own_accumulator_takes_the_stream(
    client: openai.AsyncOpenAI, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    async with client.chat.completions.stream(model="forebay", messages=said("Hello")) as streamed:
        async for _ in streamed:
            pass
        whole = await streamed.get_final_completion()
    assert whole.choices[0].finish_reason == "stop"
    assert parse_reply(whole.choices[0].message.content or "").turn == 1


async def test_conversations(client: openai.AsyncOpenAI, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()
    header = {"X-Conversation-Id": "c-1"}
    assert told(await ask(client, "One", user="u-1", extra_headers=header))["conversation_id"] == "c-1"
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "never said"},
        {"role": "user", "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": "Three"}]},
    ]
    second = await client.chat.completions.create(model="m", messages=messages, extra_headers=header)
    echo = parse_reply(second.choices[0].message.content or "")
    assert (echo.turn, echo.earlier) == (2, ["One"])
    with pytest.raises(openai.BadRequestError, match="X-Conversation-Id") as refused:
        await client.chat.completions.create(model="m", messages=messages)
    assert refused.value.param == "user"
    fresh = {told(await ask(client))["conversation_id"] for _ in range(2)}
    assert len(fresh) == 2


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["forebay"]
    assert (await client.models.retrieve("forebay")).owned_by == "forebay"
    with pytest.raises(openai.NotFoundError) as refused:
        await client.models.retrieve("gpt-4o/x")
    assert refused.value.code == "model_not_found"


async def test_actions_that_wait_and_people_who_take_over(
    client: openai.AsyncOpenAI, gateway: Gateway, fleet: Fleet, model_api: ModelApi
) -> None:
    @tool(confirm=True, summary="Cancel order {order_id}")
    def cancel_order(order_id: str) -> str:
        """Cancels an order."""
        return f"order {order_id} is cancelled"

    await fleet.start(assistant=Assistant(tools=(cancel_order,), hand_off=HandOff()))
    cancel = 'use tool cancel_order {"order_id": "1001"}'
    asked = await ask(client, cancel, user="u-1")
    assert asked.choices[0].message.content == "Cancel order 1001"
    assert told(asked)["outcome"] == "confirmation_required"
    word = {"action_id": told(asked)["action"]["action_id"], "accept": True, "wait": 30, "user_id": "u-1"}
    async with aiohttp.ClientSession(gateway.url) as http:
        done = await (await http.post("/v1/conversations/u-1/confirm", json=word)).json()
    assert "order 1001 is cancelled" in done["reply"]["text"]
    streamed = await stream(client, cancel, user="u-2")
    assert words(streamed).endswith("Cancel order 1001")
    assert told(streamed[-1])["action"]["summary"] == "Cancel order 1001"
    person = await ask(client, "I want to talk to a human", user="u-3")
    assert told(person)["outcome"] == "handed_off"
    assert person.choices[0].message.content


async def test_failed_and_expired_turns_are_not_sent_twice(
    gateway: Gateway, cluster: Cluster, fleet: Fleet, model_api: ModelApi
) -> None:
    worker = await fleet.start()
    async with sdk(gateway, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError) as failed:
            await ask(client, "[fault context_too_long]", user="u-1")
        assert (failed.value.status_code, failed.value.type) == (502, "server_error")
        assert failed.value.code
        assert isinstance(failed.value.body, dict)
        assert failed.value.body["forebay"]["outcome"] == "failed"
        with pytest.raises(openai.APIError) as cut:
            await stream(client, "[fault context_too_long] again", user="u-1")
        assert cut.value.code == failed.value.code
        await fleet.stop(worker)
        await fleet.start(turn_ttl_s=0.001)
        with pytest.raises(openai.InternalServerError) as expired:
            await ask(client, "Too late", user="u-1")
        assert (expired.value.status_code, expired.value.type, expired.value.code) == (504, "timeout", "expired")
    assert len(await turns(cluster)) == 3


async def test_no_reply_in_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underway, "GRACE_S", 0.1)
    async with serving(cluster, turn_ttl_s=0.1) as gateway, sdk(gateway, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError, match="no reply came in time") as overdue:
            await ask(client)
        assert (overdue.value.status_code, overdue.value.type) == (504, "timeout")
        with pytest.raises(openai.APIError, match="no reply came in time"):
            await stream(client)
    assert len(await turns(cluster)) == 2


class Cuts(httpx2.AsyncHTTPTransport):
    """Delivers the first request, and loses its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.retries: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.retries.append(request.headers["x-stainless-retry-count"])
        response = await super().handle_async_request(request)
        if len(self.retries) == 1:
            await response.aclose()
            raise httpx2.ReadError("cut", request=request)
        return response


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_retry_joins_the_turn_of_the_first_attempt(
    gateway: Gateway, cluster: Cluster, fleet: Fleet, model_api: ModelApi, streamed: bool
) -> None:
    await fleet.start()
    cuts = Cuts()
    async with sdk(gateway, max_retries=2, http_client=httpx2.AsyncClient(transport=cuts)) as client:
        if streamed:
            text = words(await stream(client, "Yes", user="u-1"))
        else:
            text = (await ask(client, "Yes", user="u-1")).choices[0].message.content or ""
        assert parse_reply(text).turn == 1
        assert cuts.retries == ["0", "1"]
        assert await turns(cluster) == ["Yes"]
        await ask(client, "Yes", user="u-1")
        assert await turns(cluster) == ["Yes", "Yes"], "the same words again are another turn"


async def test_a_retry_joins_at_another_gateway_too(
    gateway: Gateway, cluster: Cluster, fleet: Fleet, model_api: ModelApi
) -> None:
    async with sdk(gateway, timeout=1.0) as client:
        with pytest.raises(openai.APITimeoutError):
            await ask(client, "Slow", user="u-1")
    async with serving(cluster) as other, sdk(other) as client:
        again = asyncio.create_task(ask(client, "Slow", user="u-1", extra_headers={"x-stainless-retry-count": "1"}))
        await fleet.start()
        assert told(await again)["conversation_id"] == "u-1"
    assert await turns(cluster) == ["Slow"]


async def test_a_gateway_that_leaves_says_that_another_one_goes_on(cluster: Cluster, hand: Hand) -> None:
    async with serving(cluster) as gateway:
        client = sdk(gateway)
        waiting = asyncio.create_task(ask(client, user="u-1"))
        fresh = asyncio.create_task(ask(client))
        while len(await turns(cluster)) < 2:
            pass
    for task, again in ((waiting, "true"), (fresh, "false")):
        with pytest.raises(openai.InternalServerError) as left:
            await task
        assert (left.value.status_code, left.value.code) == (503, "leaving")
        assert left.value.response.headers["x-should-retry"] == again
    await client.close()


async def test_an_idempotency_key_is_one_turn(
    client: openai.AsyncOpenAI, cluster: Cluster, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    key = {"Idempotency-Key": "order-1"}
    for more in ({"user": "u-1"}, {}):
        first, second = [await ask(client, "Once", extra_headers=key, **more) for _ in range(2)]
        assert first.id == second.id
        assert first.choices == second.choices
        with pytest.raises(openai.ConflictError) as refused:
            await ask(client, "Something else", extra_headers=key, **more)
        assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(await turns(cluster)) == 2


async def test_too_many_turns_of_a_user(cluster: Cluster, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()
    limits = {"gateway_user_burst": 1, "gateway_user_turns_a_second": 2.0}
    async with serving(cluster, **limits) as gateway, sdk(gateway) as client:
        await ask(client, user="u-1")
        with pytest.raises(openai.RateLimitError) as refused:
            await ask(client, user="u-1")
        error, headers = refused.value, refused.value.response.headers
        assert (error.type, error.code) == ("rate_limit_error", "rate_limit_exceeded")
        assert headers["Retry-After"] == "1"
        assert 0 < int(headers["retry-after-ms"]) <= 500
        again = await ask(client.with_options(max_retries=3), user="u-1")
        assert parse_reply(again.choices[0].message.content or "").turn == 2
        assert len(await turns(cluster)) == 2


async def test_words_that_begin_anew_are_a_new_paragraph(client: openai.AsyncOpenAI, hand: Hand) -> None:
    chunks = await client.chat.completions.create(model="m", messages=said("Hi"), user="u-1", stream=True)
    taken = [await anext(chunks)]
    turn = ("u-1", taken[0].id.removeprefix("chatcmpl-"))
    await hand.delta(turn, 0, "Let me ")
    await hand.delta(turn, 1, "look.")
    await hand.delta(turn, 2, "It is ", restart=True)
    await hand.delta(turn, 4, "(nobody knows what was here)")
    await hand.delta(turn, 0, "It is ")
    await hand.delta(turn, 1, "in stock")
    while not words(taken).endswith("It is in stock"):  # a reply that is read before its deltas has all words by itself
        taken.append(await anext(chunks))
    await hand.reply(turn, "It is in stock.", finish_reason="max_tokens")
    taken += [chunk async for chunk in chunks]
    assert words(taken) == "Let me look.\n\nIt is in stock."
    assert taken[-1].choices[0].finish_reason == "length"


async def test_a_worker_that_was_replaced_says_the_same_words_once(client: openai.AsyncOpenAI, hand: Hand) -> None:
    chunks = await client.chat.completions.create(model="m", messages=said("Hi"), user="u-1", stream=True)
    taken = [await anext(chunks)]
    turn = ("u-1", taken[0].id.removeprefix("chatcmpl-"))
    for _worker in range(2):
        await hand.delta(turn, 0, "It is")
        await hand.delta(turn, 1, " in")
    await hand.reply(turn, "It is in all shops.")
    taken += [chunk async for chunk in chunks]
    assert words(taken) == "It is in all shops."


async def test_tokens_open_their_conversations_only(
    cluster: Cluster, fleet: Fleet, model_api: ModelApi, tmp_path: Path
) -> None:
    await fleet.start()
    async with serving(cluster, gateway_keys=write_keys(tmp_path)) as gateway:
        async with sdk(gateway, token("c-1")) as client:
            assert told(await ask(client, user="anything"))["conversation_id"] == "c-1"
            with pytest.raises(openai.PermissionDeniedError):
                await ask(client, extra_headers={"X-Conversation-Id": "c-2"})
        async with sdk(gateway, token("u-1.*")) as client:
            assert told(await ask(client))["conversation_id"].startswith("u-1.")
            assert told(await ask(client, user="u-1.x"))["conversation_id"] == "u-1.x"
            with pytest.raises(openai.PermissionDeniedError):
                await ask(client, user="u-2")
        async with sdk(gateway, token("c-1", "c-2")) as client:
            with pytest.raises(openai.PermissionDeniedError, match="X-Conversation-Id"):
                await ask(client)
        async with sdk(gateway, "wrong", max_retries=2) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await ask(client)
            assert refused.value.code == "invalid_api_key"
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
