"""Shapes: a turn's reply, its words and its failures as OpenAI's Chat Completions tells them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from forebay.gateway.http.problem import Problem
from forebay.gateway.turns.following import Underway

_FINISHED = {"max_tokens": "length", "length": "length"}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 504: "timeout"}
_CODES = {401: "invalid_api_key", 413: "request_too_large", 429: "rate_limit_exceeded"}

Reply = dict[str, Any]


def finish_reason(reply: Reply) -> str:
    """`length` where the model was cut off, else `stop`."""
    return _FINISHED.get(reply.get("finish_reason") or "", "stop")


def extension(turn: Underway, reply: Reply | None) -> dict[str, Any]:
    """What Forebay knows beyond what OpenAI tells."""
    told = {"turn_id": turn.turn_id, "conversation_id": turn.conversation_id}
    return told if reply is None else told | {name: reply.get(name) for name in ("outcome", "route", "action")}


@dataclass(frozen=True, slots=True)
class Completion:
    """One turn as a completion."""

    turn: Underway
    created: int
    """Seconds since the epoch."""
    model: str
    """Of a reply that names none."""
    include_usage: bool = False

    def whole(self, reply: Reply) -> dict[str, Any]:
        """The answer to a request that is not streamed."""
        message = {"role": "assistant", "content": reply["text"], "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(reply)}
        told = {"choices": [choice], "usage": usage(reply), "forebay": extension(self.turn, reply)}
        return {**self._head("chat.completion", reply), **told}

    def chunk(self, delta: dict[str, str]) -> dict[str, Any]:
        """Some words, or the role."""
        return self._chunk(delta, None)

    def last(self, reply: Reply) -> list[dict[str, Any]]:
        """What ends a stream: the reason, and the usage where it was asked for."""
        told = {"forebay": extension(self.turn, reply)}
        ended = [self._chunk({}, finish_reason(reply), reply) | told]
        if self.include_usage:
            head = self._head("chat.completion.chunk", reply)
            ended.append({**head, "choices": [], "usage": usage(reply), **told})
        return ended

    def _chunk(self, delta: dict[str, str], reason: str | None, reply: Reply | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        unknown = {"usage": None} if self.include_usage else {}
        return {**self._head("chat.completion.chunk", reply), "choices": [choice], **unknown}

    def _head(self, kind: str, reply: Reply | None) -> dict[str, Any]:
        model = (reply or {}).get("model") or self.model
        return {"id": f"chatcmpl-{self.turn.turn_id}", "object": kind, "created": self.created, "model": model}


def usage(reply: Reply) -> dict[str, Any]:
    """Tokens of all model calls of the turn."""
    used = reply.get("usage") or {}
    cached, completion = used.get("cache_read_tokens", 0), used.get("output_tokens", 0)
    prompt = used.get("input_tokens", 0) + cached
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**counted, "prompt_tokens_details": {"cached_tokens": cached}}


def failure(turn: Underway, reply: Reply) -> Problem | None:
    """Why a turn has no answer; None of one that has."""
    outcome = reply.get("outcome")
    if outcome not in ("expired", "failed"):
        return None
    error = reply.get("error") or {}
    # The client must not send it again by itself: this turn is over, and sent again it would be another one.
    return Problem(
        504 if outcome == "expired" else 502,
        error.get("message") or "the turn got no answer",
        code=error.get("code") or outcome,
        again=False,
        forebay=extension(turn, reply),
    )


def error_of(problem: Problem) -> dict[str, Any]:
    """As the `error` of a body or of a chunk."""
    status, more = problem.status, problem.more
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    told = {"message": problem.detail, "type": kind, "param": more.get("param")}
    known = {name: more[name] for name in ("forebay", "estimated_wait_s") if name in more}
    return {"error": {**told, "code": _CODES.get(status, problem.code), **known}}


def refusal(problem: Problem) -> web.Response:
    """The answer to a request that was not served."""
    headers = problem.headers()
    if problem.retry_after_s is not None:
        headers["retry-after-ms"] = str(max(1, math.ceil(problem.retry_after_s * 1000)))
    again = problem.more.get("again", None if problem.status != HTTPStatus.CONFLICT else False)
    if again is not None:
        headers["x-should-retry"] = "true" if again else "false"
    body = orjson.dumps(error_of(problem))
    return web.Response(status=problem.status, body=body, content_type="application/json", headers=headers)
