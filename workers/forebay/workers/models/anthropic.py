"""Models of the Anthropic Messages API, through the real SDK on its aiohttp transport.

Replies are read raw: parsing them into the SDK's objects would cost more CPU than everything else the worker does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import anthropic
import httpx2
import orjson

from forebay.schemas import Usage
from forebay.workers.messages import Message, ToolCall

from .model import Completion, ModelError, OnText, Trouble, count, model_name, parsed, trouble_of, whole_text
from .prompt import Prompt, ToolSpec
from .sdk import SdkModel, sdk_client, sdk_errors
from .timeouts import CallClock, Timeouts


def client(key: str, connections: int, timeouts: Timeouts) -> anthropic.AsyncAnthropic:
    """One client for all models behind one key; the address is ANTHROPIC_BASE_URL."""
    return sdk_client(anthropic.AsyncAnthropic, anthropic.DefaultAioHttpClient, key, connections, timeouts)


def errors(late: Callable[[], str]) -> AbstractContextManager[None]:
    """Turns the SDK's and the transport's errors into ModelError; ``late`` says what took too long after a TimeoutError."""
    return sdk_errors(anthropic, _status_error, late)


class AnthropicModel(SdkModel[anthropic.AsyncAnthropic]):
    """One model of the Messages API."""

    _errors = staticmethod(errors)

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self.name,
            "max_tokens": self._most or prompt.max_tokens,
            "system": prompt.system,
            "messages": [_message(message) for message in prompt.messages],
        }
        if prompt.tools:
            arguments["tools"] = _tools(prompt.tools)
            if not prompt.may_call:
                arguments["tool_choice"] = {"type": "none"}
        _mark_for_cache(arguments)
        return arguments

    async def _whole(self, arguments: dict[str, Any]) -> Completion:
        # The SDK's own request path (keys, headers, error classes) without its walk through the parameters' types.
        response = await self._client.post("/v1/messages", cast_to=httpx2.Response, body=arguments | self._sampling)
        request_id = response.headers.get("request-id")
        try:
            body = parsed(response.content)
            text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
            calls = tuple(_call(block) for block in body["content"] if block["type"] == "tool_use")
            reason = str(body.get("stop_reason") or "unknown")
            usage, model = _usage(body["usage"]), model_name(body.get("model"))
            return Completion(whole_text(text), reason, usage, request_id, response.headers, calls, model)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(f"malformed reply: {error}", Trouble.MALFORMED, request_id=request_id) from error

    async def _streamed(self, arguments: dict[str, Any], on_text: OnText, clock: CallClock) -> Completion:
        parts: list[str] = []
        calls: dict[int, list[str]] = {}  # by the block's index: id, name, and the pieces of the arguments
        usage: dict[str, Any] = {}
        finish_reason: str | None = None
        model: str | None = None
        create = self._client.messages.create
        # The SDK's parameters know no sampling: its newest models take none.
        async with await create(stream=True, extra_body=self._sampling or None, **arguments) as stream:
            async for event in stream:
                if event.type == "content_block_delta":
                    clock.token()
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    parts.append(event.delta.text)
                    on_text(event.delta.text)
                elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                    calls[event.index].append(event.delta.partial_json)
                elif event.type == "content_block_start" and event.content_block.type == "tool_use":
                    calls[event.index] = [event.content_block.id, event.content_block.name]
                elif event.type == "message_start":
                    usage |= event.message.usage.to_dict(mode="json")
                    model = model_name(event.message.model)
                elif event.type == "message_delta":
                    usage |= event.usage.to_dict(mode="json")
                    finish_reason = event.delta.stop_reason
                elif event.type == "message_stop" and finish_reason is not None:
                    said, headers = whole_text("".join(parts)), stream.response.headers
                    asked = tuple(ToolCall(call[0], call[1], "".join(call[2:]) or "{}") for call in calls.values())
                    request_id = headers.get("request-id")
                    return Completion(said, finish_reason, _usage(usage), request_id, headers, asked, model)
        raise ModelError("the stream ended without message_stop", Trouble.MALFORMED)


def _message(message: Message) -> dict[str, Any]:
    """Calls and results are blocks; plain text stays plain."""
    if message.results:
        results = [
            {"type": "tool_result", "tool_use_id": call_id, "content": text, **({"is_error": True} if failed else {})}
            for call_id, text, failed in message.results
        ]
        return {"role": "user", "content": results}
    if not message.calls:
        return {"role": message.role, "content": message.text}
    said = [{"type": "text", "text": message.text}] if message.text else []
    calls = [
        {"type": "tool_use", "id": call_id, "name": name, "input": _input(arguments)}
        for call_id, name, arguments in message.calls
    ]
    return {"role": "assistant", "content": [*said, *calls]}


def _input(arguments: str) -> dict[str, Any]:
    """Always an object, as the API requires: another provider's model may have written something else."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _call(block: dict[str, Any]) -> ToolCall:
    return ToolCall(str(block["id"]), str(block["name"]), orjson.dumps(block["input"]).decode())


@lru_cache(maxsize=64)
def _tools(tools: tuple[ToolSpec, ...]) -> list[dict[str, Any]]:
    return [{"name": name, "description": what, "input_schema": orjson.loads(schema)} for name, what, schema in tools]


def _mark_for_cache(arguments: dict[str, Any]) -> None:
    """Marks where the prefix ends that the next call will share: after tools and instructions, and after the last message.

    A conversation's next turn, and the next round of tools, begin with all of this prompt. Below a model's least length
    (1,024 to 4,096 tokens) marks have no effect.
    """
    marked = {"cache_control": {"type": "ephemeral"}}
    if arguments["system"]:
        arguments["system"] = [{"type": "text", "text": arguments["system"], **marked}]
    last = arguments["messages"][-1]
    if isinstance(last["content"], str):
        last["content"] = [{"type": "text", "text": last["content"], **marked}]
    else:
        last["content"][-1] |= marked


def _usage(fields: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(fields.get("input_tokens")) + count(fields.get("cache_creation_input_tokens")),
        output_tokens=count(fields.get("output_tokens")),
        cache_read_tokens=count(fields.get("cache_read_input_tokens")),
    )


_TROUBLE_OF_TYPE = {
    "overloaded_error": Trouble.OVERLOADED,
    "api_error": Trouble.SERVER,
    "rate_limit_error": Trouble.RATE_LIMITED,
    "timeout_error": Trouble.TIMEOUT,
}


def _status_error(error: anthropic.APIStatusError) -> ModelError:
    if isinstance(error, (anthropic.EnforcedSpendLimitReachedError, anthropic.ContractSpendLimitReachedError)):
        trouble = Trouble.SPENDING_LIMIT
    elif error.status_code < 400:  # an error event inside a stream arrives with the stream's own status, 200
        trouble = _TROUBLE_OF_TYPE.get(error.type or "", Trouble.REJECTED)
    else:
        trouble = trouble_of(error.status_code, error.message)
    return ModelError(
        f"{error.status_code} {error.type or ''}: {error.message}"[:500],
        trouble,
        status=error.status_code,
        headers=error.response.headers,
        request_id=error.request_id,
    )
