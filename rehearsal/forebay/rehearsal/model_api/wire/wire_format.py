"""What a vendor's wire format has to offer, and the parts of a stream that faults fall between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.answers.model_answer import ModelAnswer
from forebay.rehearsal.model_api.limits.provider_limits import Limit
from forebay.rehearsal.model_api.limits.rate_headers import Rates

from .error_answer import ErrorAnswer


@dataclass(frozen=True, slots=True)
class AnswerIdentity:
    """What makes one answer distinct."""

    number: int
    """Calls of this API so far."""
    created: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class StreamFrames:
    """A stream as server-sent events, each `bytes` one or more whole events."""

    opening: bytes
    """What shows that the model has begun, before any text."""
    deltas: list[bytes]
    """The pieces of the answer."""
    closing: bytes
    """What makes the reply count: stop reason, usage, end."""


class Wire(Protocol):
    """One vendor's Messages / Chat Completions format."""

    name: str
    """Provider name in the statistics."""

    def unauthorized(self, headers: Mapping[bytes, bytes]) -> ErrorAnswer | None:
        """The 401 (or 400) for missing or wrong credentials; None if they are fine."""

    def read(self, body: object) -> CallPrompt:
        """The prompt of a decoded JSON body. Raises Refused with the vendor's 400."""

    def broken_json(self, problem: str) -> ErrorAnswer:
        """The 400 for a body that is no JSON."""

    def plain(self, prompt: CallPrompt, reply: ModelAnswer, identity: AnswerIdentity) -> bytes:
        """The JSON body of a whole answer."""

    def frames(self, prompt: CallPrompt, reply: ModelAnswer, identity: AnswerIdentity) -> StreamFrames:
        """The same answer as a stream."""

    def error_event(self) -> bytes:
        """An error inside a stream."""

    def refusal_body(self, refusal: ErrorAnswer, identity: AnswerIdentity) -> bytes:
        """The JSON body of an error answer."""

    def headers(self, identity: AnswerIdentity, rates: Rates, now: float, refusal: ErrorAnswer | None) -> bytes:
        """Header lines of every answer, each ended by CRLF: request id, rate limits, Retry-After."""

    def quota_tokens(self, prompt: CallPrompt, reply: ModelAnswer) -> int:
        """Tokens of a call, as its usage tells them, that count against the tokens per minute."""

    def rate_limited(self, model: str, limit: Limit = Limit.REQUESTS) -> ErrorAnswer:
        """429 of the limit that is exceeded, retryable."""

    def spend_limited(self) -> ErrorAnswer:
        """429, not retryable."""

    def overloaded(self) -> ErrorAnswer:
        """529 or 503."""

    def server_error(self) -> ErrorAnswer:
        """500."""

    def unavailable(self) -> ErrorAnswer:
        """503 of an outage."""

    def context_too_long(self, tokens: int, maximum: int) -> ErrorAnswer:
        """400 for a prompt of `tokens` where `maximum` is the limit."""

    def too_large(self) -> ErrorAnswer:
        """413 for a body over the limit."""

    def unknown_path(self, method: str, path: str) -> ErrorAnswer:
        """404."""

    def wrong_method(self, method: str, path: str) -> ErrorAnswer:
        """405."""

    def models(self) -> bytes:
        """The body of `GET /v1/models`."""
