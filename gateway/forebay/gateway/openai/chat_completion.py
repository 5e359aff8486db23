"""A turn and its reply in the shape of OpenAI's Chat Completions, whole or in chunks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forebay.gateway.turns.underway import Underway, finish_reason

ReplyFields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """One turn as a chat completion."""

    turn: Underway
    created: int
    """Seconds since the epoch."""
    model: str
    """For a reply that names none."""
    include_usage: bool = False

    def whole(self, reply: ReplyFields) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        message = {"role": "assistant", "content": reply["text"], "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(reply)}
        told = {"choices": [choice], "usage": usage(reply), "forebay": self.turn.extension(reply)}
        return {**self._head("chat.completion", reply), **told}

    def chunk(self, delta: dict[str, str]) -> dict[str, Any]:
        """A chunk with some words, or with the role."""
        return self._chunk(delta, None)

    def last(self, reply: ReplyFields) -> list[dict[str, Any]]:
        """The last chunks: the finish reason, and the usage if it was asked for."""
        told = {"forebay": self.turn.extension(reply)}
        ended = [self._chunk({}, finish_reason(reply), reply) | told]
        if self.include_usage:
            head = self._head("chat.completion.chunk", reply)
            ended.append({**head, "choices": [], "usage": usage(reply), **told})
        return ended

    def _chunk(self, delta: dict[str, str], reason: str | None, reply: ReplyFields | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        unknown = {"usage": None} if self.include_usage else {}
        return {**self._head("chat.completion.chunk", reply), "choices": [choice], **unknown}

    def _head(self, kind: str, reply: ReplyFields | None) -> dict[str, Any]:
        model = (reply or {}).get("model") or self.model
        return {"id": f"chatcmpl-{self.turn.turn_id}", "object": kind, "created": self.created, "model": model}


def usage(reply: ReplyFields) -> dict[str, Any]:
    """Tokens of all model calls of the turn."""
    used = reply.get("usage") or {}
    cached, completion = used.get("cache_read_tokens", 0), used.get("output_tokens", 0)
    prompt = used.get("input_tokens", 0) + cached
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**counted, "prompt_tokens_details": {"cached_tokens": cached}}
