"""Implements `forebay.telemetry.tracing` with OpenTelemetry. Imported only where that is installed and traces are on."""

from __future__ import annotations

from asyncio import CancelledError, Future
from contextvars import Token
from types import TracebackType
from typing import Any, Self

from opentelemetry import context as otel_context
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from forebay.schemas.headers import TRACEPARENT, TRACESTATE, Headers

from .tracing import CANCELLED, TRACE, Attributes, Kind, Span, Trace

_KINDS = {
    "server": api.SpanKind.SERVER,
    "producer": api.SpanKind.PRODUCER,
    "consumer": api.SpanKind.CONSUMER,
    "client": api.SpanKind.CLIENT,
    "internal": api.SpanKind.INTERNAL,
}
_W3C = TraceContextTextMapPropagator()
"""Whatever OTEL_PROPAGATORS says: the contract is ``traceparent``."""
_TRACE_HEADERS = TRACEPARENT, TRACESTATE


class OtelTracer:
    """Makes spans with a tracer of OpenTelemetry."""

    def __init__(self, tracer: api.Tracer) -> None:
        self._tracer = tracer

    def start(self, name: str, kind: Kind, attributes: Attributes, parent: Headers | None = None) -> Span:
        """See `forebay.telemetry.tracing.Tracer`."""
        context = None if parent is None else _context_of(parent)
        return OtelSpan(self._tracer.start_span(name, context, _KINDS[kind], dict(attributes)))


class OtelSpan(Span):
    """A span that is exported, if it is sampled."""

    __slots__ = ("_entered", "_failed", "_span", "_was")

    def __init__(self, span: api.Span) -> None:
        self._span, self._failed = span, False

    @property
    def recording(self) -> bool:  # type: ignore[override]
        """See `Span`."""
        return self._span.is_recording()

    def set(self, attributes: Attributes) -> None:
        """See `Span`."""
        self._span.set_attributes(dict(attributes))

    def failed(self, error: str) -> None:
        """See `Span`. Without a description: an error's message may quote what a customer wrote."""
        if not self._failed:
            self._failed = True
            self._span.set_attribute("error.type", error)
            self._span.set_status(api.StatusCode.ERROR)

    def carrying(self, headers: Headers) -> Headers:
        """See `Span`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, api.set_span_in_context(self._span))
        kept = (header for header in headers if header[0] not in _TRACE_HEADERS)
        return (*kept, *((name, value.encode()) for name, value in carrier.items()))

    def ends_with(self, done: Future[Any]) -> None:
        """See `Span`."""
        done.add_done_callback(self._done)

    def _done(self, done: Future[Any]) -> None:
        error = CancelledError() if done.cancelled() else done.exception()
        if error is not None:
            self.failed(_code(type(error)))
        self.end()

    def end(self) -> None:
        """See `Span`."""
        self._span.end()

    def __enter__(self) -> Self:
        """See `Span`. It is OpenTelemetry's current span too, for what else is instrumented."""
        self._entered: Token[Context] = otel_context.attach(api.set_span_in_context(self._span))
        own = self._span.get_span_context()
        trace_id, span_id = api.format_trace_id(own.trace_id), api.format_span_id(own.span_id)
        self._was: Token[Trace | None] = TRACE.set(Trace(trace_id, span_id, own.trace_flags.sampled))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        TRACE.reset(self._was)
        otel_context.detach(self._entered)
        if kind is not None:
            self.failed(_code(kind))
        self.end()


def forget() -> None:
    """Removes the current span from the context."""
    otel_context.attach(Context())


def _code(error: type[BaseException]) -> str:
    return CANCELLED if issubclass(error, CancelledError) else error.__name__


def _context_of(headers: Headers) -> Context:
    """What a sender put into the headers; a new trace begins where that is none."""
    # Of several the first one counts, as in `tracing.trace_of`.
    carrier = {name: value.decode("ascii", "replace") for name, value in reversed(headers) if name in _TRACE_HEADERS}
    return _W3C.extract(carrier, Context())
