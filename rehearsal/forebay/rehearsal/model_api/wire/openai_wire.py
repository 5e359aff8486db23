"""The OpenAI Chat Completions API on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.answers.model_answer import ModelAnswer, pieces
from forebay.rehearsal.model_api.known_models import OPENAI_MODELS
from forebay.rehearsal.model_api.limits.provider_limits import Limit
from forebay.rehearsal.model_api.limits.rate_headers import Rates

from .error_answer import ErrorAnswer
from .openai_request import read_request
from .wire_format import AnswerIdentity, StreamFrames

_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)
_RATE_LIMITED = {
    Limit.REQUESTS: ("requests", "requests per min (RPM)"),
    Limit.TOKENS: ("tokens", "tokens per min (TPM)"),
    Limit.IN_FLIGHT: ("requests", "concurrent requests"),
}
"""The error's type, and how its message names the limit."""
_SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"


class OpenAIWire:
    """Chat completions in OpenAI's format."""

    name = "openai"

    def unauthorized(self, headers: Mapping[bytes, bytes]) -> ErrorAnswer | None:
        """401 without a bearer key, or with one that contains `invalid`."""
        key = headers.get(b"authorization", b"")
        if not key.lower().startswith(b"bearer ") or not key[7:].strip():
            return ErrorAnswer(401, "unauthorized", "invalid_request_error", _NO_KEY)
        if b"invalid" in key:
            message = "Incorrect API key provided. You can find your API key in your account settings."
            return ErrorAnswer(401, "unauthorized", "invalid_request_error", message, code="invalid_api_key")
        return None

    def read(self, body: object) -> CallPrompt:
        """The prompt of a decoded body; raises Refused."""
        return read_request(body)

    def broken_json(self, problem: str) -> ErrorAnswer:
        """400 for a body that is no JSON."""
        message = (
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            f"library correctly. The parser said: {problem}.)"
        )
        return ErrorAnswer(400, "invalid_request", "invalid_request_error", message)

    def plain(self, prompt: CallPrompt, reply: ModelAnswer, identity: AnswerIdentity) -> bytes:
        """A `chat.completion` object."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        if reply.tools:
            message["tool_calls"] = [
                _tool_call(_tool_id(identity, index), call.name, call.arguments)
                for index, call in enumerate(reply.tools)
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(reply)}
        answer = _envelope("chat.completion", prompt, identity)
        return orjson.dumps(answer | {"choices": [choice], "usage": _usage(prompt, reply)})

    def frames(self, prompt: CallPrompt, reply: ModelAnswer, identity: AnswerIdentity) -> StreamFrames:
        """The chunks from the role to `[DONE]`."""
        chunks = _Chunks(prompt, identity)
        opening = chunks.delta(b'{"role":"assistant","content":"","refusal":null}')
        deltas = [chunks.delta(b'{"content":%b}' % orjson.dumps(piece)) for piece in pieces(reply.text)]
        for index, call in enumerate(reply.tools):
            first = {"index": index} | _tool_call(_tool_id(identity, index), call.name, "")
            deltas.append(chunks.delta(orjson.dumps({"tool_calls": [first]})))
            for piece in pieces(call.arguments):
                part = {"index": index, "function": {"arguments": piece}}
                deltas.append(chunks.delta(orjson.dumps({"tool_calls": [part]})))
        closing = chunks.delta(b"{}", b'"%b"' % _finish_reason(reply).encode())
        if prompt.include_usage:
            closing += chunks.usage(_usage(prompt, reply))
        return StreamFrames(opening, deltas, closing + b"data: [DONE]\n\n")

    def error_event(self) -> bytes:
        """The failure that the real API reports inside a stream."""
        error = {"message": _SERVER_ERROR, "type": "server_error", "param": None, "code": None}
        return b"data: %b\n\n" % orjson.dumps({"error": error})

    def refusal_body(self, refusal: ErrorAnswer, identity: AnswerIdentity) -> bytes:
        """An `error` object."""
        error = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
        return orjson.dumps({"error": error})

    def headers(self, identity: AnswerIdentity, rates: Rates, now: float, refusal: ErrorAnswer | None) -> bytes:
        """Request id, rate limits, Retry-After."""
        exhausted = refusal.retry_after_s or 0.0 if refusal is not None and refusal.exhausted else None
        lines = b"x-request-id: req_%032x\r\nopenai-organization: org-rehearsal\r\nopenai-version: 2020-10-01\r\n" % (
            identity.number
        )
        lines += rates.openai_headers(now, exhausted)
        if refusal is not None and refusal.retry_after_s is not None:
            seconds = refusal.retry_after_s
            # Rounded up: a client that comes at the earliest moment told must not come too early.
            lines += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (-(-seconds // 1), -(-seconds * 1000 // 1))
        return lines

    def quota_tokens(self, prompt: CallPrompt, reply: ModelAnswer) -> int:
        """Input and output tokens, whether the cache held them or not."""
        return prompt.tokens + reply.tokens

    def rate_limited(self, model: str, limit: Limit = Limit.REQUESTS) -> ErrorAnswer:
        """The organisation's rate limit."""
        kind, what = _RATE_LIMITED[limit]
        message = (
            f"Rate limit reached for {model} in organization org-rehearsal on {what}. Please slow down and try again."
        )
        return ErrorAnswer(429, "rate_limit", kind, message, code="rate_limit_exceeded", exhausted=True)

    def spend_limited(self) -> ErrorAnswer:
        """The organisation's hard spend limit."""
        message = "You exceeded your current quota, please check your plan and billing details."
        return ErrorAnswer(429, "spend_limit", "insufficient_quota", message, code="organization_spend_limit_exceeded")

    def overloaded(self) -> ErrorAnswer:
        """503."""
        message = "The engine is currently overloaded, please try again later."
        return ErrorAnswer(503, "overloaded", "server_error", message)

    def server_error(self) -> ErrorAnswer:
        """500."""
        return ErrorAnswer(500, "server_error", "server_error", _SERVER_ERROR, after_latency=True)

    def unavailable(self) -> ErrorAnswer:
        """503."""
        return ErrorAnswer(503, "unavailable", "server_error", "Service temporarily unavailable.")

    def context_too_long(self, tokens: int, maximum: int) -> ErrorAnswer:
        """400."""
        message = (
            f"This model's maximum context length is {maximum} tokens. However, your messages resulted in {tokens} "
            "tokens. Please reduce the length of the messages."
        )
        code = "context_length_exceeded"
        return ErrorAnswer(400, "context_too_long", "invalid_request_error", message, code, "messages")

    def too_large(self) -> ErrorAnswer:
        """413."""
        return ErrorAnswer(413, "too_large", "invalid_request_error", "Request body is too large.")

    def unknown_path(self, method: str, path: str) -> ErrorAnswer:
        """404."""
        return ErrorAnswer(404, "unknown_path", "invalid_request_error", f"Invalid URL ({method} {path})")

    def wrong_method(self, method: str, path: str) -> ErrorAnswer:
        """405."""
        message = f"Not allowed to {method} on {path}."
        return ErrorAnswer(405, "wrong_method", "invalid_request_error", message, "method_not_supported")

    def models(self) -> bytes:
        """Every model."""
        data = [
            {"id": model, "object": "model", "created": 1_767_225_600, "owned_by": "system"} for model in OPENAI_MODELS
        ]
        return orjson.dumps({"object": "list", "data": data})


class _Chunks:
    """Renders the chunks of one stream, whose envelope is the same in all of them."""

    def __init__(self, prompt: CallPrompt, identity: AnswerIdentity) -> None:
        envelope = orjson.dumps(_envelope("chat.completion.chunk", prompt, identity))
        self._start = b"data: %b," % envelope[:-1]
        # With include_usage, every chunk but the last carries a null.
        self._end = b',"usage":null}\n\n' if prompt.include_usage else b"}\n\n"

    def delta(self, delta: bytes, finish_reason: bytes = b"null") -> bytes:
        """A chunk with one choice."""
        choice = b'"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]' % (delta, finish_reason)
        return self._start + choice + self._end

    def usage(self, usage: dict[str, Any]) -> bytes:
        """The last chunk, without choices."""
        return b'%b"choices":[],"usage":%b}\n\n' % (self._start, orjson.dumps(usage))


def _envelope(kind: str, prompt: CallPrompt, identity: AnswerIdentity) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{identity.number:029x}",
        "object": kind,
        "created": identity.created,
        "model": prompt.model,
        "service_tier": "default",
        "system_fingerprint": "fp_rehearsal",
    }


def _usage(prompt: CallPrompt, reply: ModelAnswer) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt.tokens,
        "completion_tokens": reply.tokens,
        "total_tokens": prompt.tokens + reply.tokens,
        "prompt_tokens_details": {"cached_tokens": prompt.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _finish_reason(reply: ModelAnswer) -> str:
    return "tool_calls" if reply.tools else "length" if reply.cut else "stop"


def _tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _tool_id(identity: AnswerIdentity, index: int) -> str:
    return f"call_{identity.number:022x}{index:02x}"
