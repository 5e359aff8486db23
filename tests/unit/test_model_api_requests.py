"""What the simulated model reads from a request of each vendor."""

from typing import Any

import pytest

from forebay.rehearsal.model_api.answers.model_answer import RequestedTool, compose, pieces
from forebay.rehearsal.model_api.wire import anthropic_request, openai_request
from forebay.rehearsal.model_api.wire.error_answer import CallRefused

LONG = "word " * 2000
"""About 2,500 tokens, enough to be cached."""
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "w", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]}
OPENAI_CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
}
OPENAI_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def anthropic(messages: list[Any], **more: Any) -> dict[str, Any]:
    return {"model": "claude-haiku-5-5", "max_tokens": 500, "messages": messages, **more}


def openai(messages: list[Any], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-6-luna", "messages": messages, **more}


def test_user_texts_are_read_in_order_from_strings_and_blocks() -> None:
    blocks = {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]}
    prompt = anthropic_request.read_request(anthropic([user("a"), assistant("x"), blocks]))
    assert prompt.user_texts == ["a", "b\nc"]
    prompt = openai_request.read_request(
        openai([{"role": "system", "content": "s"}, user("a"), assistant("x"), blocks])
    )
    assert prompt.user_texts == ["a", "b\nc"]


def test_tool_results_count_until_the_next_user_text() -> None:
    pending = anthropic_request.read_request(anthropic([user("a"), CALL, RESULT]))
    assert (pending.user_texts, pending.tool_results) == (["a"], ["sunny"])
    over = anthropic_request.read_request(anthropic([user("a"), CALL, RESULT, assistant("ok"), user("b")]))
    assert (over.user_texts, over.tool_results) == (["a", "b"], [])
    pending = openai_request.read_request(openai([user("a"), OPENAI_CALL, OPENAI_RESULT]))
    assert (pending.user_texts, pending.tool_results) == (["a"], ["sunny"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "Input should be a valid dictionary"),
        ({"max_tokens": 5, "messages": []}, "model: Field required"),
        ({"model": "m", "messages": []}, "max_tokens: Field required"),
        ({"model": "m", "max_tokens": 5}, "messages: Field required"),
        (anthropic([]), "messages: at least one message is required"),
        (anthropic([user("a")], max_tokens=True), "max_tokens: Input should be a valid integer"),
        (anthropic([{"role": "system", "content": "a"}]), "messages.0.role: Input should be 'user' or 'assistant'"),
        (anthropic([user("")]), "messages.0: user messages must have non-empty content"),
        (
            anthropic([{"role": "user", "content": [{"type": "text", "text": ""}]}]),
            "text content blocks must be non-empty",
        ),
        (anthropic([RESULT]), "messages.0.content.0: unexpected `tool_use_id` found"),
        (anthropic([user("a"), CALL, user("b")]), "messages.2: `tool_use` ids were found without `tool_result`"),
    ],
)
def test_anthropic_complaints(body: object, message: str) -> None:
    with pytest.raises(CallRefused, match=message) as caught:
        anthropic_request.read_request(body)
    assert caught.value.refusal.status == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "expected an object"),
        ({"messages": []}, "you must provide a model parameter"),
        ({"model": "m"}, "Missing required parameter: 'messages'"),
        (openai([]), "Invalid 'messages': empty array"),
        (openai([{"role": "robot", "content": "a"}]), "Invalid value: 'robot'"),
        (openai([{"role": "user", "content": None}]), "Invalid value for 'content'"),
        (openai([OPENAI_RESULT]), "messages with role 'tool' must be a response"),
        (openai([user("a"), OPENAI_CALL, user("b")]), "did not have response messages: call_1"),
        (openai([user("a"), OPENAI_CALL]), "did not have response messages: call_1"),
    ],
)
def test_openai_complaints(body: object, message: str) -> None:
    with pytest.raises(CallRefused, match=message) as caught:
        openai_request.read_request(body)
    assert caught.value.refusal.status == 400


def test_an_anthropic_marker_is_written_first_and_read_on_the_next_turn() -> None:
    system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    first = anthropic_request.read_request(anthropic([user("a")], system=system))
    assert (first.cache_read, first.cache_write) == (0, 2500)
    second = anthropic_request.read_request(anthropic([user("a"), assistant("x"), user("b")], system=system))
    assert (second.cache_read, second.cache_write) == (2500, 0)


def test_a_marked_conversation_reads_what_the_call_before_sent() -> None:
    messages = [user(LONG), assistant("x"), user("b")]
    prompt = anthropic_request.read_request(anthropic(messages, cache_control={"type": "ephemeral"}))
    assert prompt.cache_read == 2504
    assert prompt.cache_read + prompt.cache_write == prompt.tokens


def test_short_or_unmarked_prompts_are_not_cached() -> None:
    marked = anthropic_request.read_request(anthropic([user("a")], cache_control={"type": "ephemeral"}))
    unmarked = anthropic_request.read_request(anthropic([user(LONG), assistant("x"), user("b")]))
    assert (marked.cache_read, marked.cache_write, unmarked.cache_read, unmarked.cache_write) == (0, 0, 0, 0)


def test_openai_caches_by_itself_in_steps() -> None:
    assert openai_request.read_request(openai([user(LONG)])).cache_read == 0
    assert openai_request.read_request(openai([user(LONG), assistant("x"), user("b")])).cache_read == 2432
    assert openai_request.cached(1023) == 0


def test_a_tool_is_used_when_the_text_asks_and_the_tool_is_offered() -> None:
    tools = [{"name": "weather", "input_schema": {"type": "object"}}, {"name": "clock", "input_schema": {}}]
    text = 'use tool weather {"city": "Porto"} and use tool clock, not use tool magic'
    calls = compose(anthropic_request.read_request(anthropic([user(text)], tools=tools))).tools
    assert calls == (RequestedTool("weather", '{"city":"Porto"}'), RequestedTool("clock", "{}"))
    assert not compose(anthropic_request.read_request(anthropic([user(text)]))).tools
    none = {"tools": tools, "tool_choice": {"type": "none"}}
    assert not compose(anthropic_request.read_request(anthropic([user(text)], **none))).tools


def test_max_tokens_cut_the_reply() -> None:
    reply = compose(anthropic_request.read_request(anthropic([user("hello there")], max_tokens=3)))
    assert (reply.cut, reply.tokens, reply.text) == (True, 3, "[turn 1] I u")


def test_pieces_join_to_the_text() -> None:
    assert "".join(pieces("x" * 100)) == "x" * 100
    assert pieces("") == []
