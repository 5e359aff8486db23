"""Metrics and spans of one model call, by OpenTelemetry's conventions for GenAI."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from forebay.telemetry import tracing
from forebay.telemetry.tracing import NOTHING, Span
from forebay.workers import metrics
from forebay.workers.models import Completion, ModelError, OnText

from .upstream import Upstream

_UNKNOWN = "_OTHER"


class Operation:
    """Measures one call: enter it around the call, and give it the completion."""

    __slots__ = ("_began", "_completion", "_first_chunk_s", "_on_text", "_span", "_upstream", "on_text")

    def __init__(self, upstream: Upstream, on_text: OnText | None) -> None:
        self._upstream, self._on_text = upstream, on_text
        self.on_text: OnText | None = None if on_text is None else self._chunk
        """To be called in place of the one that was given."""
        self._first_chunk_s: float | None = None
        self._completion: Completion | None = None
        self._span = chat_span(upstream, streamed=on_text is not None)
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def answered(self, completion: Completion) -> Completion:
        """The call was answered."""
        self._completion = completion
        _tell_answer(self._span, completion, self._first_chunk_s)
        return completion

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        provider, model = self._upstream.known.provider, self._upstream.label
        code = _code(error)
        metrics.calls_of(provider, model, code).observe(time.perf_counter() - self._began, tracing.exemplar())
        if self._first_chunk_s is not None:
            metrics.first_chunk_of(provider, model).observe(self._first_chunk_s)
        if self._completion is not None:
            self._count_tokens(provider, model, self._completion)
        if code:
            self._span.failed(code)
        if isinstance(error, ModelError) and error.status is not None:
            self._span.set({"http.response.status_code": error.status})
        self._span.__exit__(kind, error, where)

    def _count_tokens(self, provider: str, model: str, completion: Completion) -> None:
        usage, (read, written) = completion.usage, metrics.tokens_of(provider, model)
        if usage.input_tokens or usage.output_tokens:  # a provider that tells none has none counted
            read.observe(usage.input_tokens + usage.cache_read_tokens)
            written.observe(usage.output_tokens)

    def _chunk(self, text: str) -> None:
        if self._first_chunk_s is None:
            self._first_chunk_s = time.perf_counter() - self._began
        if self._on_text is not None:
            self._on_text(text)


def chat_span(upstream: Upstream, *, streamed: bool) -> Span:
    """One call of a model; each further try is a further span."""
    if tracing.tracer is None:
        return NOTHING
    attributes: dict[str, str | bool] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": upstream.known.provider,
        "gen_ai.request.model": upstream.model.name,
        "gen_ai.request.stream": streamed,
        "forebay.upstream": upstream.name,
    }
    if turn := tracing.TURN.get():
        attributes["gen_ai.conversation.id"] = turn[1]
    return tracing.tracer.start(f"chat {upstream.model.name}", "client", attributes)


def _tell_answer(span: Span, completion: Completion, first_chunk_s: float | None) -> None:
    """What a model call came to. The conventions count cached tokens among those of the input."""
    if not span.recording:
        return
    usage = completion.usage
    span.set(
        {
            "gen_ai.response.finish_reasons": [completion.finish_reason],
            "gen_ai.usage.input_tokens": usage.input_tokens + usage.cache_read_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        }
    )
    if completion.model is not None:
        span.set({"gen_ai.response.model": completion.model})
    if first_chunk_s is not None:
        span.set({"gen_ai.response.time_to_first_chunk": first_chunk_s})


def _code(error: BaseException | None) -> str:
    """What went wrong, as the conventions' ``error.type``; empty when nothing did."""
    if error is None:
        return ""
    if isinstance(error, ModelError):
        return error.trouble.value
    return tracing.CANCELLED if isinstance(error, asyncio.CancelledError) else _UNKNOWN
