"""Read the body of `POST /v1/chat/completions`, with the real API's complaints."""

from __future__ import annotations

from typing import Any

import orjson

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt, Transcript
from forebay.rehearsal.model_api.answers.offer import Offer

from .error_answer import CallRefused, ErrorAnswer

MIN_CACHED_TOKENS = 1024
CACHE_STEP = 128
"""The automatic cache holds prefixes of at least 1,024 tokens, in steps of 128."""

_ROLES = ("system", "developer", "user", "assistant", "tool")


def read_request(body: object) -> CallPrompt:
    """The prompt of a decoded body. Raises Refused with a 400."""
    if not isinstance(body, dict):
        raise invalid("Invalid type for the request body: expected an object.")
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str):
        raise invalid("you must provide a model parameter")
    if messages is None:
        raise invalid("Missing required parameter: 'messages'.", "missing_required_parameter", "messages")
    if not isinstance(messages, list):
        raise invalid("Invalid type for 'messages': expected an array of objects.", "invalid_type", "messages")
    if not messages:
        raise invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "empty_array",
            "messages",
        )
    transcript = Transcript()
    offers = _read_offers(body, transcript)
    _MessageReader(transcript).read(messages)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    options = body.get("stream_options")
    return transcript.prompt(
        body,
        offers,
        cache_read=cached(transcript.sent_before),
        max_tokens=limit if isinstance(limit, int) else None,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def cached(sent_before: int) -> int:
    """Prompt tokens read from the cache when the call before had sent `sent_before`."""
    return sent_before // CACHE_STEP * CACHE_STEP if sent_before >= MIN_CACHED_TOKENS else 0


def invalid(message: str, code: str | None = None, param: str | None = None) -> CallRefused:
    """A 400 of the real API's type."""
    return CallRefused(ErrorAnswer(400, "invalid_request", "invalid_request_error", message, code, param))


def _read_offers(body: dict[str, Any], transcript: Transcript) -> dict[str, Offer]:
    tools = body.get("tools")
    if not isinstance(tools, list) or not tools:
        return {}
    transcript.count(orjson.dumps(tools).decode())
    if body.get("tool_choice") == "none":
        return {}
    functions = (tool.get("function") for tool in tools if isinstance(tool, dict))
    offers = (Offer.read(function, "parameters") for function in functions if isinstance(function, dict))
    return {offer.name: offer for offer in offers}


class _MessageReader:
    """Walks the messages, checking that tool calls and their results belong together."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._open_calls: dict[str, None] = {}

    def read(self, messages: list[Any]) -> None:
        for index, message in enumerate(messages):
            role = message.get("role") if isinstance(message, dict) else None
            if role not in _ROLES:
                raise invalid(
                    f"Invalid value: {str(role)!r}. Supported values are: 'system', 'assistant', 'user', 'function', "
                    "'tool', and 'developer'.",
                    "invalid_value",
                    f"messages[{index}].role",
                )
            self._message(index, role, message)
        self._all_answered(len(messages))

    def _message(self, index: int, role: str, message: dict[str, Any]) -> None:
        self._transcript.begin_message(role)
        if role == "tool":
            self._tool_message(index, message)
            return
        self._all_answered(index)
        text = _content_text(index, message)
        self._transcript.count(text)
        if role == "user":
            self._transcript.user(text)
        elif role == "assistant":
            for call in message.get("tool_calls") or ():
                self._open_calls[str(call.get("id"))] = None
                self._transcript.count(orjson.dumps(call).decode())

    def _tool_message(self, index: int, message: dict[str, Any]) -> None:
        call = str(message.get("tool_call_id"))
        if call not in self._open_calls:
            raise invalid(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                "'tool_calls'.",
                None,
                f"messages.[{index}].role",
            )
        del self._open_calls[call]
        self._transcript.tool_result(_content_text(index, message))

    def _all_answered(self, index: int) -> None:
        if self._open_calls:
            raise invalid(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                "'tool_call_id'. The following tool_call_ids did not have response messages: "
                + ", ".join(self._open_calls),
                None,
                f"messages.[{index}].role",
            )


def _content_text(index: int, message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "\n".join(text for text in texts if isinstance(text, str))
    if message["role"] == "assistant" and (message.get("tool_calls") or message.get("refusal")):
        return ""
    raise invalid(
        "Invalid value for 'content': expected a string, got null.", "invalid_type", f"messages.[{index}].content"
    )
