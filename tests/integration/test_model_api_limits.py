"""The real clients against a simulated provider with limits and outages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from forebay.rehearsal.model_api import Limits, ModelApi, ModelApiSettings, Outage

MODEL = "claude-haiku-5-5"


@pytest.fixture
async def api() -> AsyncIterator[ModelApi]:
    async with ModelApi(ModelApiSettings(latency_ms=0, token_ms=0)) as running:
        yield running


@pytest.fixture
async def slow() -> AsyncIterator[ModelApi]:
    """An API whose calls stay in progress until their client leaves."""
    async with ModelApi(ModelApiSettings(latency_ms=60_000, limits=Limits(max_in_flight=2))) as running:
        yield running


@pytest.fixture
async def claude(api: ModelApi) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with claude_of(api) as client:
        yield client


@pytest.fixture
async def gpt(api: ModelApi) -> AsyncIterator[openai.AsyncOpenAI]:
    async with gpt_of(api) as client:
        yield client


@pytest.fixture
async def http(api: ModelApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api.url) as session:
        yield session


def claude_of(api: ModelApi) -> anthropic.AsyncAnthropic:
    http = anthropic.DefaultAioHttpClient()
    return anthropic.AsyncAnthropic(api_key="k", base_url=api.url, max_retries=0, http_client=http)


def gpt_of(api: ModelApi) -> openai.AsyncOpenAI:
    http = openai.DefaultAioHttpClient()
    return openai.AsyncOpenAI(api_key="k", base_url=f"{api.url}/v1", max_retries=0, http_client=http)


async def ask_claude(client: anthropic.AsyncAnthropic, text: str = "Hello") -> anthropic.types.Message:
    return await client.messages.create(model=MODEL, max_tokens=400, messages=[{"role": "user", "content": text}])


async def ask_gpt(client: openai.AsyncOpenAI, text: str = "Hello") -> openai.types.chat.ChatCompletion:
    return await client.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": text}])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most 5 seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_calls_beyond_the_limit_are_refused_as_overload_at_once(slow: ModelApi) -> None:
    async with claude_of(slow) as claude, gpt_of(slow) as gpt:
        busy = [asyncio.create_task(ask_claude(claude)) for _ in range(2)]
        await until(lambda: slow.stats().working == 2)
        with pytest.raises(anthropic.OverloadedError) as overloaded:
            await ask_claude(claude)
        assert "retry-after" not in overloaded.value.response.headers
        with pytest.raises(openai.InternalServerError) as unavailable:
            await ask_gpt(gpt)
        assert unavailable.value.status_code == 503
        await cancelled(*busy)
        await until(lambda: slow.stats().working == 0)
    stats = slow.stats()
    assert (stats.accepted, stats.refused["in_flight"], stats.peak_working) == (2, 2, 2)
    assert stats.calls == {"anthropic": {"abandoned": 2, "over_in_flight": 1}, "openai": {"over_in_flight": 1}}


@pytest.mark.parametrize(("retry_after_s", "header"), [(2.5, "3"), (None, None)])
async def test_calls_beyond_the_limit_can_be_refused_with_429(
    slow: ModelApi, retry_after_s: float | None, header: str | None
) -> None:
    slow.set_limits(max_in_flight=1, refuse_with=429, retry_after_s=retry_after_s)
    async with claude_of(slow) as claude, gpt_of(slow) as gpt:
        busy = asyncio.create_task(ask_claude(claude))
        await until(lambda: slow.stats().working == 1)
        with pytest.raises(anthropic.RateLimitError) as limited:
            await ask_claude(claude)
        with pytest.raises(openai.RateLimitError) as limited_too:
            await ask_gpt(gpt)
        assert limited.value.type == "rate_limit_error"
        assert limited.value.response.headers.get("retry-after") == header
        assert limited_too.value.response.headers.get("retry-after") == header
        await cancelled(busy)


async def test_a_place_is_free_again_when_a_call_is_over(api: ModelApi, claude: anthropic.AsyncAnthropic) -> None:
    api.set_limits(max_in_flight=1)
    for _ in range(3):
        assert (await ask_claude(claude)).stop_reason == "end_turn"
    async with claude.messages.stream(
        model=MODEL, max_tokens=400, messages=[{"role": "user", "content": "Hello"}]
    ) as stream:
        await stream.get_final_message()
    stats = api.stats()
    assert (stats.accepted, stats.working, stats.peak_working) == (4, 0, 1)


async def test_requests_per_minute_are_enforced_for_each_key(api: ModelApi, claude: anthropic.AsyncAnthropic) -> None:
    api.set_limits(requests_per_minute=2)
    lefts = []
    for _ in range(2):
        raw = await claude.messages.with_raw_response.create(
            model=MODEL, max_tokens=400, messages=[{"role": "user", "content": "Hello"}]
        )
        lefts.append(raw.headers["anthropic-ratelimit-requests-remaining"])
    assert lefts == ["1", "0"]
    with pytest.raises(anthropic.RateLimitError, match="requests per minute") as limited:
        await ask_claude(claude)
    assert 55 <= int(limited.value.response.headers["retry-after"]) <= 60
    assert limited.value.response.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert (await ask_claude(claude.with_options(api_key="other"))).stop_reason == "end_turn"
    keys = api.stats().keys["anthropic"]
    assert {name: key.accepted for name, key in keys.items()} == {"k": 2, "other": 1}
    assert api.stats().refused["requests"] == 1


async def test_the_retry_after_of_a_spent_token_quota_is_truthful(api: ModelApi, gpt: openai.AsyncOpenAI) -> None:
    usage = (await ask_gpt(gpt)).usage
    assert usage is not None
    limit = 3 * usage.total_tokens
    api.set_limits(tokens_per_minute=limit, window_s=2.0)
    for _ in range(3):
        await ask_gpt(gpt)
    with pytest.raises(openai.RateLimitError) as limited:
        await ask_gpt(gpt)
    assert (limited.value.code, limited.value.type) == ("rate_limit_exceeded", "tokens")
    headers = limited.value.response.headers
    assert headers["x-ratelimit-limit-tokens"] == str(limit)
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    await asyncio.sleep(int(headers["retry-after-ms"]) / 1000)
    await ask_gpt(gpt)
    stats = api.stats()
    assert (stats.accepted, stats.refused["tokens"], stats.peak_window_tokens) == (5, 1, limit)


async def test_tokens_are_counted_as_the_usage_tells_them(
    api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    api.set_limits(tokens_per_minute=100_000)
    raw = await claude.messages.with_raw_response.create(
        model=MODEL, max_tokens=400, messages=[{"role": "user", "content": "Hello"}]
    )
    used = (await raw.parse()).usage
    spent = used.input_tokens + used.output_tokens
    assert raw.headers["anthropic-ratelimit-tokens-limit"] == "100000"
    assert raw.headers["anthropic-ratelimit-tokens-remaining"] == str(100_000 - spent)
    completion = await ask_gpt(gpt, "A longer question, so that the two differ.")
    assert completion.usage is not None
    keys = api.stats().keys
    assert keys["anthropic"]["k"].window_tokens == spent
    assert keys["openai"]["k"].window_tokens == completion.usage.total_tokens
    assert api.stats().window_tokens == max(spent, completion.usage.total_tokens)


async def test_a_call_larger_than_the_quota_is_refused_without_a_time(
    api: ModelApi, claude: anthropic.AsyncAnthropic
) -> None:
    api.set_limits(tokens_per_minute=5)
    with pytest.raises(anthropic.RateLimitError, match="tokens per minute") as limited:
        await ask_claude(claude)
    assert "retry-after" not in limited.value.response.headers


async def test_an_observed_quota_refuses_nothing_and_shows_what_was_too_much(
    api: ModelApi, claude: anthropic.AsyncAnthropic
) -> None:
    api.set_limits(tokens_per_minute=5, enforce=False)
    for _ in range(3):
        await ask_claude(claude)
    stats = api.stats()
    assert (stats.accepted, stats.refused["tokens"]) == (3, 0)
    assert stats.peak_window_tokens > 3 * 5


@pytest.mark.parametrize(
    ("outage", "claude_error", "gpt_status"),
    [
        (True, anthropic.InternalServerError, 500),
        (Outage.UNAVAILABLE, anthropic.ServiceUnavailableError, 503),
    ],
)
async def test_an_outage_refuses_every_call(
    api: ModelApi,
    claude: anthropic.AsyncAnthropic,
    gpt: openai.AsyncOpenAI,
    outage: Outage | bool,
    claude_error: type[anthropic.APIStatusError],
    gpt_status: int,
) -> None:
    api.set_limits(outage=outage)
    with pytest.raises(claude_error) as failed:
        await ask_claude(claude)
    assert failed.value.type == "api_error"
    with pytest.raises(openai.InternalServerError) as failed_too:
        await ask_gpt(gpt)
    assert failed_too.value.status_code == gpt_status
    api.set_limits(outage=None)
    assert (await ask_claude(claude)).stop_reason == "end_turn"
    stats = api.stats()
    assert (stats.accepted, stats.refused["outage"]) == (1, 2)


async def test_an_outage_can_drop_the_connections(
    api: ModelApi, claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    api.set_limits(outage="drop")
    with pytest.raises(anthropic.APIConnectionError):
        await ask_claude(claude)
    with pytest.raises(openai.APIConnectionError):
        await ask_gpt(gpt)
    assert api.stats().refused["outage"] == 2


async def test_calls_that_hang_in_an_outage_are_answered_when_it_is_over(
    api: ModelApi, claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession
) -> None:
    api.set_limits(outage="hang")
    waiting = [asyncio.create_task(ask_claude(claude, f"call {number}")) for number in range(3)]
    await until(lambda: api.stats().in_flight == 3)
    with pytest.raises(anthropic.APITimeoutError):
        await ask_claude(claude.with_options(timeout=0.05))
    await until(lambda: api.stats().in_flight == 3)
    assert (api.stats().accepted, api.stats().refused["outage"]) == (0, 1)
    async with http.post("/limits", json={"outage": None}) as answer:
        assert answer.status == 200
    async with asyncio.timeout(5):
        replies = await asyncio.gather(*waiting)
    assert [reply.stop_reason for reply in replies] == ["end_turn"] * 3
    assert api.stats().turns["call 0"] == 1
    assert (api.stats().begun, api.stats().accepted, api.stats().working) == (4, 3, 0)


async def test_calls_that_hang_fail_when_the_outage_turns_into_refusals(
    api: ModelApi, claude: anthropic.AsyncAnthropic
) -> None:
    api.set_limits(outage="hang")
    waiting = asyncio.create_task(ask_claude(claude))
    await until(lambda: api.stats().in_flight == 1)
    api.set_limits(outage="503")
    with pytest.raises(anthropic.ServiceUnavailableError):
        await waiting


async def test_limits_are_shown_changed_and_reset_over_http(api: ModelApi, http: aiohttp.ClientSession) -> None:
    start = Limits().shown()
    async with http.get("/limits") as answer:
        assert await answer.json() == start
    changed = {"max_in_flight": 8, "retry_after_s": None, "outage": "503"}
    async with http.post("/limits", json=changed) as answer:
        assert await answer.json() == start | changed
    async with http.post("/limits", json={"outage": False, "window_s": 2}) as answer:
        assert await answer.json() == start | changed | {"outage": None, "window_s": 2}
    for wrong, message in (
        ({"max_in_flight": 0}, "max_in_flight must be a whole number of at least 1"),
        ({"speed": 1}, "unknown field 'speed'"),
        ([], "limits are a JSON object"),
    ):
        async with http.post("/limits", json=wrong) as answer:
            assert answer.status == 400
            assert message in (await answer.json())["error"]
    async with http.post("/limits", data=b"{") as answer:
        assert answer.status == 400
    assert api.limits.max_in_flight == 8
    async with http.delete("/limits") as answer:
        assert await answer.json() == start


async def test_stats_over_http_tell_keys_and_windows(
    api: ModelApi, claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession
) -> None:
    api.set_limits(requests_per_minute=1)
    await ask_claude(claude)
    with pytest.raises(anthropic.RateLimitError):
        await ask_claude(claude)
    async with http.get("/stats?turns=none") as answer:
        shown = await answer.json()
    assert (shown["accepted"], shown["refused"]["requests"], shown["working"]) == (1, 1, 0)
    key = shown["keys"]["anthropic"]["k"]
    assert (key["accepted"], key["peak_window_requests"]) == (1, 1)
    assert key["window_tokens"] == shown["peak_window_tokens"] > 0
