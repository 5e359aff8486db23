"""The Anthropic Messages API on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.answers.model_answer import ModelAnswer, pieces
from forebay.rehearsal.model_api.known_models import ANTHROPIC_MODELS, RELEASED
from forebay.rehearsal.model_api.limits.provider_limits import Limit
from forebay.rehearsal.model_api.limits.rate_headers import Rates

from .anthropic_request import read_request
from .error_answer import ErrorAnswer
from .wire_format import AnswerIdentity, StreamFrames

_RATE_LIMITED = {
    Limit.REQUESTS: "This request would exceed your organization's rate limit of requests per minute (model: %s).",
    Limit.TOKENS: "This request would exceed your organization's rate limit of tokens per minute (model: %s).",
    Limit.IN_FLIGHT: "Number of concurrent connections has exceeded your rate limit (model: %s).",
}
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class AnthropicWire:
    """Messages in Anthropic's format."""

    name = "anthropic"

    def unauthorized(self, headers: Mapping[bytes, bytes]) -> ErrorAnswer | None:
        """401 without a key, or with one that contains `invalid`; 400 without `anthropic-version`."""
        key = headers.get(b"x-api-key") or headers.get(b"authorization")
        if not key:
            return ErrorAnswer(401, "unauthorized", "authentication_error", "x-api-key header is required")
        if b"invalid" in key:
            return ErrorAnswer(401, "unauthorized", "authentication_error", "invalid x-api-key")
        if b"anthropic-version" not in headers:
            return ErrorAnswer(400, "invalid_request", "invalid_request_error", "anthropic-version: header is required")
        return None

    def read(self, body: object) -> CallPrompt:
        """The prompt of a decoded body; raises Refused."""
        return read_request(body)

    def broken_json(self, problem: str) -> ErrorAnswer:
        """400 for a body that is no JSON."""
        return ErrorAnswer(
            400, "invalid_request", "invalid_request_error", f"The request body is not valid JSON: {problem}"
        )

    def plain(self, prompt: CallPrompt, reply: ModelAnswer, identity: AnswerIdentity) -> bytes:
        """A `message` object."""
        content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}]
        content += [
            {
                "type": "tool_use",
                "id": _tool_id(identity, index),
                "name": call.name,
                "input": orjson.Fragment(call.arguments),
            }
            for index, call in enumerate(reply.tools)
        ]
        message = _message(prompt, identity)
        message |= {
            "content": content,
            "stop_reason": _stop_reason(reply),
            "usage": _usage(prompt, reply.tokens),
        }
        return orjson.dumps(message)

    def frames(self, prompt: CallPrompt, reply: ModelAnswer, identity: AnswerIdentity) -> StreamFrames:
        """The events from message_start to message_stop."""
        start = _event(
            b"message_start",
            {"type": "message_start", "message": _message(prompt, identity) | {"usage": _usage(prompt, 1)}},
        )
        opening = start + _block_start(0, {"type": "text", "text": ""}) + _PING
        deltas = [_TEXT_DELTA % orjson.dumps(piece) for piece in pieces(reply.text)]
        ended = _block_stop(0)
        for index, call in enumerate(reply.tools, start=1):
            tool = {"type": "tool_use", "id": _tool_id(identity, index - 1), "name": call.name, "input": {}}
            deltas.append(ended + _block_start(index, tool) + _JSON_DELTA % (index, b'""'))
            deltas += [_JSON_DELTA % (index, orjson.dumps(piece)) for piece in pieces(call.arguments)]
            ended = _block_stop(index)
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop_reason(reply), "stop_sequence": None},
            "usage": _usage(prompt, reply.tokens),
        }
        stop = _event(b"message_stop", {"type": "message_stop"})
        return StreamFrames(opening, deltas, ended + _event(b"message_delta", delta) + stop)

    def error_event(self) -> bytes:
        """The overload that the real API reports inside a stream."""
        error = {"type": "overloaded_error", "message": "Overloaded"}
        return _event(b"error", {"type": "error", "error": error})

    def refusal_body(self, refusal: ErrorAnswer, identity: AnswerIdentity) -> bytes:
        """An `error` object."""
        error: dict[str, Any] = {"type": refusal.type, "message": refusal.message}
        if refusal.code is not None:
            error["details"] = {"error_code": refusal.code}
        return orjson.dumps({"type": "error", "error": error, "request_id": _request_id(identity)})

    def headers(self, identity: AnswerIdentity, rates: Rates, now: float, refusal: ErrorAnswer | None) -> bytes:
        """Request id, rate limits, Retry-After."""
        exhausted = refusal.retry_after_s or 0.0 if refusal is not None and refusal.exhausted else None
        lines = b"request-id: %b\r\nanthropic-organization-id: org-rehearsal\r\n" % _request_id(identity).encode()
        lines += rates.anthropic_headers(now, exhausted)
        if refusal is not None and refusal.retry_after_s is not None:
            lines += b"retry-after: %d\r\nx-should-retry: true\r\n" % -(-refusal.retry_after_s // 1)
        return lines

    def quota_tokens(self, prompt: CallPrompt, reply: ModelAnswer) -> int:
        """Input and output tokens; what the cache held does not count."""
        return prompt.tokens - prompt.cache_read + reply.tokens

    def rate_limited(self, model: str, limit: Limit = Limit.REQUESTS) -> ErrorAnswer:
        """The organisation's rate limit."""
        message = _RATE_LIMITED[limit] % model
        return ErrorAnswer(429, "rate_limit", "rate_limit_error", message, exhausted=True)

    def spend_limited(self) -> ErrorAnswer:
        """The monthly threshold of the organisation's tier."""
        message = "Your organization has reached the monthly API usage limit of its tier."
        return ErrorAnswer(429, "spend_limit", "rate_limit_error", message, code="enforced_spend_limit_reached")

    def overloaded(self) -> ErrorAnswer:
        """529."""
        return ErrorAnswer(529, "overloaded", "overloaded_error", "Overloaded")

    def server_error(self) -> ErrorAnswer:
        """500."""
        return ErrorAnswer(500, "server_error", "api_error", "Internal server error", after_latency=True)

    def unavailable(self) -> ErrorAnswer:
        """503."""
        return ErrorAnswer(503, "unavailable", "api_error", "Service unavailable")

    def context_too_long(self, tokens: int, maximum: int) -> ErrorAnswer:
        """400."""
        message = f"prompt is too long: {tokens} tokens > {maximum} maximum"
        return ErrorAnswer(400, "context_too_long", "invalid_request_error", message)

    def too_large(self) -> ErrorAnswer:
        """413."""
        return ErrorAnswer(413, "too_large", "request_too_large", "Request exceeds the maximum size")

    def unknown_path(self, method: str, path: str) -> ErrorAnswer:
        """404."""
        return ErrorAnswer(404, "unknown_path", "not_found_error", "Not found")

    def wrong_method(self, method: str, path: str) -> ErrorAnswer:
        """405."""
        return ErrorAnswer(405, "wrong_method", "invalid_request_error", "Method Not Allowed")

    def models(self) -> bytes:
        """One page with every model."""
        data = [
            {"type": "model", "id": model, "display_name": model, "created_at": RELEASED, "lifecycle": "active"}
            for model in ANTHROPIC_MODELS
        ]
        ends = {"first_id": ANTHROPIC_MODELS[0], "last_id": ANTHROPIC_MODELS[-1]}
        return orjson.dumps({"data": data, "has_more": False, **ends})


_TEXT_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%b}}\n\n'
)
_JSON_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%b}}\n\n'
)


def _event(name: bytes, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, orjson.dumps(data))


def _block_start(index: int, block: dict[str, Any]) -> bytes:
    return _event(b"content_block_start", {"type": "content_block_start", "index": index, "content_block": block})


def _block_stop(index: int) -> bytes:
    return _event(b"content_block_stop", {"type": "content_block_stop", "index": index})


def _message(prompt: CallPrompt, identity: AnswerIdentity) -> dict[str, Any]:
    return {
        "id": f"msg_01{identity.number:022x}",
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {},
    }


def _usage(prompt: CallPrompt, output_tokens: int) -> dict[str, Any]:
    # Unlike OpenAI's prompt_tokens, input_tokens leaves the cached part out.
    return {
        "input_tokens": prompt.tokens - prompt.cache_read - prompt.cache_write,
        "cache_creation_input_tokens": prompt.cache_write,
        "cache_read_input_tokens": prompt.cache_read,
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }


def _stop_reason(reply: ModelAnswer) -> str:
    return "tool_use" if reply.tools else "max_tokens" if reply.cut else "end_turn"


def _request_id(identity: AnswerIdentity) -> str:
    return f"req_01{identity.number:022x}"


def _tool_id(identity: AnswerIdentity, index: int) -> str:
    return f"toolu_01{identity.number:020x}{index:02x}"
