"""The real Anthropic and OpenAI clients, on both of their transports, against the simulated API."""

from collections.abc import AsyncIterator
from json import JSONDecodeError
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic.types import MessageParam, TextBlock, ToolUseBlock
from openai.types.chat import ChatCompletionMessageFunctionToolCall, ChatCompletionMessageParam

from forebay.rehearsal.model_api import Fault, ModelApi, ModelApiSettings, parse_reply

MODEL = "claude-haiku-5-5"
SCHEMA: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
ASK = 'please use tool weather {"city": "Porto"}'


@pytest.fixture(params=["httpx2", "aiohttp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def api() -> AsyncIterator[ModelApi]:
    async with ModelApi(ModelApiSettings(latency_ms=0, token_ms=0, context_tokens=1000)) as running:
        yield running


@pytest.fixture
async def claude(api: ModelApi, transport: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = anthropic.DefaultAioHttpClient() if transport == "aiohttp" else None
    async with anthropic.AsyncAnthropic(api_key="k", base_url=api.url, max_retries=0, http_client=http) as client:
        yield client


@pytest.fixture
async def gpt(api: ModelApi, transport: str) -> AsyncIterator[openai.AsyncOpenAI]:
    http = openai.DefaultAioHttpClient() if transport == "aiohttp" else None
    base_url = f"{api.url}/v1"
    async with openai.AsyncOpenAI(api_key="k", base_url=base_url, max_retries=0, http_client=http) as client:
        yield client


async def ask_claude(client: anthropic.AsyncAnthropic, text: str = "Hello") -> anthropic.types.Message:
    return await client.messages.create(model=MODEL, max_tokens=400, messages=[{"role": "user", "content": text}])


async def ask_gpt(client: openai.AsyncOpenAI, text: str = "Hello") -> openai.types.chat.ChatCompletion:
    return await client.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": text}])


async def stream_claude(client: anthropic.AsyncAnthropic, seen: list[Any]) -> None:
    """Read a stream into `seen`, which keeps what came before an error."""
    stream = await client.messages.create(
        model=MODEL, max_tokens=400, messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    async with stream:
        async for event in stream:
            seen.append(event)  # noqa: PERF401 - extend would lose what came before an error


async def stream_gpt(client: openai.AsyncOpenAI, seen: list[Any]) -> None:
    stream = await client.chat.completions.create(
        model="gpt-6-luna", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    async with stream:
        async for chunk in stream:
            seen.append(chunk)  # noqa: PERF401 - as above


async def test_claude_answers_with_the_context_it_was_given(claude: anthropic.AsyncAnthropic) -> None:
    messages: list[MessageParam] = [
        {"role": "user", "content": "I am Ana"},
        {"role": "assistant", "content": "Hello Ana"},
        {"role": "user", "content": [{"type": "text", "text": "Who am I?"}]},
    ]
    raw = await claude.messages.with_raw_response.create(model=MODEL, max_tokens=400, messages=messages)
    message = await raw.parse()
    assert isinstance(message.content[0], TextBlock)
    assert parse_reply(message.content[0].text).earlier == ["I am Ana"]
    assert (message.stop_reason, message.model) == ("end_turn", MODEL)
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert raw.headers["request-id"].startswith("req_")
    assert raw.headers["x-model-ms"] == "0.000"
    assert int(raw.headers["anthropic-ratelimit-input-tokens-remaining"]) > 0
    assert raw.headers["anthropic-ratelimit-requests-reset"].endswith("Z")


async def test_gpt_answers_with_the_context_it_was_given(gpt: openai.AsyncOpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "我叫小明"},
        {"role": "assistant", "content": "你好"},
        {"role": "user", "content": "我叫什么？"},
    ]
    raw = await gpt.chat.completions.with_raw_response.create(model="gpt-6-luna", messages=messages)
    completion = raw.parse()
    assert parse_reply(completion.choices[0].message.content or "").earlier == ["我叫小明"]
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-ratelimit-reset-requests"].endswith("s")


async def test_claude_streams_through_both_doors(claude: anthropic.AsyncAnthropic) -> None:
    async with claude.messages.stream(
        model=MODEL, max_tokens=400, messages=[{"role": "user", "content": "Hello"}]
    ) as helper:
        text = "".join([piece async for piece in helper.text_stream])
        final = await helper.get_final_message()
    assert text == "[turn 1] I understand: “Hello”."
    assert (final.stop_reason, final.usage.output_tokens > 1) == ("end_turn", True)
    seen: list[Any] = []
    await stream_claude(claude, seen)
    assert seen[0].type == "message_start"
    assert seen[-1].type == "message_stop"


async def test_gpt_streams_through_both_doors(gpt: openai.AsyncOpenAI) -> None:
    async with gpt.chat.completions.stream(
        model="gpt-6-luna",
        messages=[{"role": "user", "content": "Hello"}],
        stream_options={"include_usage": True},
    ) as helper:
        async for _ in helper:
            pass
        final = await helper.get_final_completion()
    assert final.choices[0].message.content == "[turn 1] I understand: “Hello”."
    assert final.usage is not None
    seen: list[Any] = []
    await stream_gpt(gpt, seen)
    assert seen[0].choices[0].delta.role == "assistant"
    assert seen[-1].choices[0].finish_reason == "stop"


async def test_claude_uses_a_tool_and_tells_its_result(claude: anthropic.AsyncAnthropic) -> None:
    asked: MessageParam = {"role": "user", "content": ASK}
    async with claude.messages.stream(
        model=MODEL, max_tokens=400, tools=[{"name": "weather", "input_schema": SCHEMA}], messages=[asked]
    ) as helper:
        message = await helper.get_final_message()
    call = message.content[1]
    assert isinstance(call, ToolUseBlock)
    assert (message.stop_reason, call.name, call.input) == ("tool_use", "weather", {"city": "Porto"})
    final = await claude.messages.create(
        model=MODEL,
        max_tokens=400,
        tools=[{"name": "weather", "input_schema": SCHEMA}],
        messages=[
            asked,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
        ],
    )
    assert isinstance(final.content[0], TextBlock)
    assert "The tools answered: “sunny”." in final.content[0].text


async def test_gpt_uses_a_tool_and_tells_its_result(gpt: openai.AsyncOpenAI) -> None:
    asked: ChatCompletionMessageParam = {"role": "user", "content": ASK}
    async with gpt.chat.completions.stream(
        model="gpt-6-luna",
        tools=[{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
        messages=[asked],
    ) as helper:
        completion = await helper.get_final_completion()
    call = (completion.choices[0].message.tool_calls or [])[0]
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert completion.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Porto"}')
    final = await gpt.chat.completions.create(
        model="gpt-6-luna",
        messages=[
            asked,
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {"name": "weather", "arguments": call.function.arguments},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ],
    )
    assert "The tools answered: “sunny”." in (final.choices[0].message.content or "")


async def test_both_list_models(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    assert MODEL in [model.id async for model in claude.models.list()]
    assert "gpt-6-luna" in [model.id async for model in gpt.models.list()]


CLAUDE_REFUSALS: list[tuple[Fault, type[anthropic.APIStatusError], str]] = [
    (Fault.RATE_LIMIT, anthropic.RateLimitError, "rate_limit_error"),
    (Fault.SPEND_LIMIT, anthropic.EnforcedSpendLimitReachedError, "rate_limit_error"),
    (Fault.OVERLOADED, anthropic.OverloadedError, "overloaded_error"),
    (Fault.SERVER_ERROR, anthropic.InternalServerError, "api_error"),
    (Fault.CONTEXT_TOO_LONG, anthropic.BadRequestError, "invalid_request_error"),
]
GPT_REFUSALS: list[tuple[Fault, type[openai.APIStatusError], int, str | None]] = [
    (Fault.RATE_LIMIT, openai.RateLimitError, 429, "rate_limit_exceeded"),
    (Fault.SPEND_LIMIT, openai.RateLimitError, 429, "organization_spend_limit_exceeded"),
    (Fault.OVERLOADED, openai.InternalServerError, 503, None),
    (Fault.SERVER_ERROR, openai.InternalServerError, 500, None),
    (Fault.CONTEXT_TOO_LONG, openai.BadRequestError, 400, "context_length_exceeded"),
]


@pytest.mark.parametrize(("fault", "error", "kind"), CLAUDE_REFUSALS)
async def test_claude_raises_its_class_for_each_refusal(
    api: ModelApi, claude: anthropic.AsyncAnthropic, fault: Fault, error: type[anthropic.APIStatusError], kind: str
) -> None:
    api.add_fault(fault, count=2)
    with pytest.raises(error) as plain:
        await ask_claude(claude)
    with pytest.raises(error):
        await stream_claude(claude, [])
    assert plain.value.type == kind
    assert plain.value.request_id
    assert ("retry-after" in plain.value.response.headers) == (fault is Fault.RATE_LIMIT)
    assert (await ask_claude(claude)).stop_reason == "end_turn"
    assert api.stats().calls["anthropic"] == {fault.value: 2, "ok": 1}


@pytest.mark.parametrize(("fault", "error", "status", "code"), GPT_REFUSALS)
async def test_gpt_raises_its_class_for_each_refusal(
    api: ModelApi,
    gpt: openai.AsyncOpenAI,
    fault: Fault,
    error: type[openai.APIStatusError],
    status: int,
    code: str | None,
) -> None:
    api.add_fault(fault, count=2, seconds=2.5)
    with pytest.raises(error) as plain:
        await ask_gpt(gpt)
    with pytest.raises(error):
        await stream_gpt(gpt, [])
    assert (plain.value.status_code, plain.value.code) == (status, code)
    if fault is Fault.RATE_LIMIT:
        assert plain.value.response.headers["retry-after"] == "3"
        assert plain.value.response.headers["retry-after-ms"] == "2500"
    assert (await ask_gpt(gpt)).choices[0].finish_reason == "stop"
    assert api.stats().calls["openai"] == {fault.value: 2, "ok": 1}


async def test_a_prompt_over_the_context_is_refused(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 1254 tokens > 1000 maximum"):
        await ask_claude(claude, "x" * 5000)
    with pytest.raises(openai.BadRequestError, match="maximum context length is 1000 tokens"):
        await ask_gpt(gpt, "x" * 5000)


async def test_a_wrong_key_is_refused(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
        await ask_claude(claude.with_options(api_key="sk-invalid"))
    with pytest.raises(openai.AuthenticationError) as caught:
        await ask_gpt(gpt.with_options(api_key="sk-invalid"))
    assert caught.value.code == "invalid_api_key"


async def test_a_hanging_call_times_out(
    api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    api.add_fault(Fault.HANG)
    with pytest.raises(anthropic.APITimeoutError):
        await ask_claude(claude.with_options(timeout=0.05))
    with pytest.raises(openai.APITimeoutError):
        await ask_gpt(gpt.with_options(timeout=0.05))


async def test_a_slow_first_token_opens_the_stream_and_times_out(
    api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    api.add_fault(Fault.SLOW_FIRST_TOKEN, seconds=60)
    seen: list[Any] = []
    with pytest.raises(httpx2.ReadTimeout):
        await stream_claude(claude.with_options(timeout=1.0), seen)
    assert [event.type for event in seen] == ["message_start", "content_block_start"]
    with pytest.raises(openai.APITimeoutError):
        await stream_gpt(gpt.with_options(timeout=0.1), [])


async def test_a_cut_shows_as_a_connection_error(
    api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    api.add_fault(Fault.CUT)
    seen: list[Any] = []
    with pytest.raises(httpx2.TransportError):
        await stream_claude(claude, seen)
    assert [event.type for event in seen][-1] == "content_block_delta"
    with pytest.raises(openai.APIConnectionError):
        await stream_gpt(gpt, [])
    with pytest.raises(anthropic.APIConnectionError):
        await ask_claude(claude)
    with pytest.raises(openai.APIConnectionError):
        await ask_gpt(gpt)


async def test_an_early_end_is_silent(api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    api.add_fault(Fault.EARLY_END)
    events: list[Any] = []
    await stream_claude(claude, events)
    assert [event.type for event in events][-1] == "content_block_delta"
    chunks: list[Any] = []
    await stream_gpt(gpt, chunks)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * len(chunks)


async def test_an_error_inside_a_stream_comes_after_200(
    api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    api.add_fault(Fault.STREAM_ERROR, after=1)
    seen: list[Any] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        await stream_claude(claude, seen)
    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")
    assert [event.type for event in seen].count("content_block_delta") == 1
    with pytest.raises(openai.APIError) as raised:
        await stream_gpt(gpt, [])
    assert type(raised.value) is openai.APIError


async def test_broken_json_is_raised_raw(
    api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    api.add_fault(Fault.MALFORMED)
    for call in (ask_claude(claude), stream_claude(claude, []), ask_gpt(gpt), stream_gpt(gpt, [])):
        with pytest.raises(JSONDecodeError):
            await call


async def test_a_turn_can_fail_its_first_calls_by_its_own_text(api: ModelApi, claude: anthropic.AsyncAnthropic) -> None:
    text = "Hello [fault overloaded x2]"
    for _ in range(2):
        with pytest.raises(anthropic.OverloadedError):
            await ask_claude(claude, text)
    assert (await ask_claude(claude, text)).stop_reason == "end_turn"
    assert api.stats().turns == {text: 3}
