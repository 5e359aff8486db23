"""Models of the OpenAI Chat Completions API and compatible ones, through the real SDK on its aiohttp transport."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import httpx2
import openai
import orjson

from forebay.schemas import Usage
from forebay.workers.messages import Message, ToolCall

from .model import Completion, ModelError, OnText, Trouble, count, model_name, parsed, trouble_of, whole_text
from .prompt import Prompt, ToolSpec
from .sdk import SdkModel, sdk_client, sdk_errors
from .timeouts import CallClock, Timeouts


def client(key: str, connections: int, timeouts: Timeouts) -> openai.AsyncOpenAI:
    """One client for all models behind one key; the address is OPENAI_BASE_URL."""
    return sdk_client(openai.AsyncOpenAI, openai.DefaultAioHttpClient, key, connections, timeouts)


class OpenAIModel(SdkModel[openai.AsyncOpenAI]):
    """One model of the Chat Completions API."""

    @staticmethod
    def _errors(late: Callable[[], str]) -> AbstractContextManager[None]:
        return sdk_errors(openai, _status_error, late)

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self.name,
            "max_completion_tokens": self._most or prompt.max_tokens,
            "messages": [{"role": "system", "content": prompt.system}],
            **self._sampling,
        }
        for message in prompt.messages:
            arguments["messages"] += _messages(message)
        if prompt.tools:
            arguments["tools"] = _tools(prompt.tools)
            if not prompt.may_call:
                arguments["tool_choice"] = "none"
        return arguments

    async def _whole(self, arguments: dict[str, Any]) -> Completion:
        # The SDK's own request path (keys, headers, error classes) without its walk through the parameters' types.
        response = await self._client.post("/chat/completions", cast_to=httpx2.Response, body=arguments)
        request_id = response.headers.get("x-request-id")
        try:
            body = parsed(response.content)
            choice = body["choices"][0]
            text = choice["message"].get("content") or ""
            calls = tuple(_call(call) for call in choice["message"].get("tool_calls") or ())
            return Completion(
                whole_text(text),
                str(choice.get("finish_reason") or "unknown"),
                _usage(body.get("usage") or {}),
                request_id,
                response.headers,
                calls,
                model_name(body.get("model")),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(f"malformed reply: {error}", Trouble.MALFORMED, request_id=request_id) from error

    async def _streamed(self, arguments: dict[str, Any], on_text: OnText, clock: CallClock) -> Completion:
        parts: list[str] = []
        calls: dict[int, list[str]] = {}  # by their index: id, name, and the pieces of the arguments
        usage: dict[str, Any] = {}
        finish_reason: str | None = None
        model: str | None = None
        create = self._client.chat.completions.create
        async with await create(stream=True, stream_options={"include_usage": True}, **arguments) as stream:
            async for chunk in stream:
                model = model or model_name(chunk.model)
                if chunk.usage is not None:
                    usage = chunk.usage.to_dict(mode="json")
                for choice in chunk.choices:
                    delta = choice.delta
                    if delta.content or delta.tool_calls or choice.finish_reason:  # the first chunk only tells the role
                        clock.token()
                    if delta.content:
                        parts.append(delta.content)
                        on_text(delta.content)
                    for piece in delta.tool_calls or ():
                        function = piece.function
                        call = calls.setdefault(piece.index, [piece.id or "", (function and function.name) or ""])
                        call.append((function and function.arguments) or "")
                    finish_reason = choice.finish_reason or finish_reason
        if finish_reason is None:
            raise ModelError("the stream ended without a finish_reason", Trouble.MALFORMED)
        headers = stream.response.headers
        said, request_id = whole_text("".join(parts)), headers.get("x-request-id")
        asked = tuple(ToolCall(call[0], call[1], "".join(call[2:]) or "{}") for call in calls.values())
        return Completion(said, finish_reason, _usage(usage), request_id, headers, asked, model)


def _messages(message: Message) -> list[dict[str, Any]]:
    """One message of ours; each result of a tool is one of theirs."""
    if message.results:
        return [
            {"role": "tool", "tool_call_id": call_id, "content": text} for call_id, text, _failed in message.results
        ]
    if not message.calls:
        return [{"role": message.role, "content": message.text}]
    calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in message.calls
    ]
    return [{"role": "assistant", "content": message.text or None, "tool_calls": calls}]


def _call(call: dict[str, Any]) -> ToolCall:
    function = call["function"]
    return ToolCall(str(call["id"]), str(function["name"]), str(function.get("arguments") or "{}"))


@lru_cache(maxsize=64)
def _tools(tools: tuple[ToolSpec, ...]) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": name, "description": what, "parameters": orjson.loads(schema)}}
        for name, what, schema in tools
    ]


def _usage(fields: dict[str, Any]) -> Usage:
    """OpenAI counts cached tokens among the prompt's; we count them apart, as Anthropic does."""
    details = fields.get("prompt_tokens_details")
    cached = count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    return Usage(
        input_tokens=max(0, count(fields.get("prompt_tokens")) - cached),
        output_tokens=count(fields.get("completion_tokens")),
        cache_read_tokens=cached,
    )


def _status_error(error: openai.APIStatusError) -> ModelError:
    if "insufficient_quota" in (error.code, error.type):
        trouble = Trouble.SPENDING_LIMIT
    elif error.code == "context_length_exceeded":
        trouble = Trouble.CONTEXT
    else:
        trouble = trouble_of(error.status_code, error.message)
    return ModelError(
        f"{error.status_code} {error.code or error.type or ''}: {error.message}"[:500],
        trouble,
        status=error.status_code,
        headers=error.response.headers,
        request_id=error.request_id,
    )
