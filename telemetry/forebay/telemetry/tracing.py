"""Spans and trace ids of a turn, for traces, log lines and exemplars.

OpenTelemetry is an extra. Until `switch_on` every span is `NOTHING` and costs almost nothing; log lines then have only the
trace id that a turn brought in its W3C ``traceparent``.
"""

from __future__ import annotations

import re
import sys
from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Context, ContextVar, Token, copy_context
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

from forebay.schemas.headers import TRACEPARENT, Headers

Kind = Literal["server", "producer", "consumer", "client", "internal"]
Attributes = Mapping[str, str | int | float | bool | Sequence[str]]
"""Named as in the semantic conventions. Ids, counts and codes only: never what a user or a model said."""

CANCELLED = "cancelled"
"""The ``error.type`` of a step that was cancelled: another was faster, or the process stops."""


class Trace(NamedTuple):
    """A place in a trace; ids in hexadecimal, as ``traceparent`` has them."""

    trace_id: str
    span_id: str
    """Id of our own span; empty where we add no span to the sender's trace."""
    sampled: bool
    """Whether the trace is recorded, as its first span decided."""


TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The current place in a trace."""
TURN: ContextVar[tuple[str, str] | None] = ContextVar("turn", default=None)
"""(turn id, conversation id) of the turn that is being worked on."""


class Span:
    """One step of a trace. This base class records nothing: it is `NOTHING`."""

    __slots__ = ()
    recording = False
    """Whether the span is recorded: if not, do not compute expensive attributes."""

    def set(self, attributes: Attributes) -> None:
        """Adds attributes."""

    def failed(self, error: str) -> None:
        """Marks the span as failed; ``error`` is a code. The first call counts."""

    def carrying(self, headers: Headers) -> Headers:
        """The headers with this step as the parent of what the receiver does."""
        return headers

    def ends_with(self, done: Future[Any]) -> None:
        """Ends the span when the future is done, as failed if the future failed."""

    def end(self) -> None:
        """Ends the span; not needed if it was entered as a context manager."""

    def __enter__(self) -> Self:
        """Makes it the current span: steps that begin until it is left are its children."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        return None


NOTHING = Span()


class Tracer(Protocol):
    """Creates spans."""

    def start(self, name: str, kind: Kind, attributes: Attributes, parent: Headers | None = None) -> Span:
        """Begins a span: in the trace that the headers ``parent`` name, or else under the current span."""


tracer: Tracer | None = None
"""None while traces are off."""


def switch_on(made: Tracer) -> None:
    """Records spans from now on."""
    global tracer
    tracer = made


def switch_off() -> None:
    """Stops recording spans."""
    global tracer
    tracer = None


def callers_tracer() -> Tracer | None:
    """Continues the trace of a program that uses OpenTelemetry itself and is in a span now; None elsewhere."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or not api.get_current_span().get_span_context().is_valid:
        return None
    from .otel import OtelTracer

    return OtelTracer(api.get_tracer("forebay"))


def sending(made: Tracer | None, topic: str, turn_id: str | None = None, conversation_id: str | None = None) -> Span:
    """A span for sending one record to Kafka; it ends with the acknowledgement."""
    if made is None:
        return NOTHING
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    }
    if turn_id is not None:
        attributes["messaging.message.id"] = turn_id
    if conversation_id is not None:
        attributes["messaging.message.conversation_id"] = conversation_id
    return made.start(f"send {topic}", "producer", attributes)


class About:
    """While entered, log lines carry this turn's ids, and the sender's trace id where we record no trace."""

    __slots__ = ("_trace", "_turn", "_was")

    def __init__(self, turn_id: str, conversation_id: str, headers: Headers) -> None:
        self._turn = turn_id, conversation_id
        self._trace = TRACE.get() or trace_of(headers)

    def __enter__(self) -> None:
        self._was: tuple[Token[tuple[str, str] | None], Token[Trace | None]]
        self._was = TURN.set(self._turn), TRACE.set(self._trace)

    def __exit__(self, *_: object) -> None:
        TURN.reset(self._was[0])
        TRACE.reset(self._was[1])


def exemplar() -> dict[str, str] | None:
    """An exemplar: the trace id beside a measured value; None where the trace is not sampled."""
    trace = TRACE.get()
    return {"trace_id": trace.trace_id} if trace is not None and trace.sampled else None


def trace_of(headers: Iterable[tuple[str, bytes]]) -> Trace | None:
    """The trace in a record's ``traceparent``; None without one that can be read (W3C Trace Context, 3.2)."""
    for name, value in headers:
        if name == TRACEPARENT and (found := _TRACEPARENT.fullmatch(value)):
            trace_id, flags = found.groups()
            return Trace(trace_id.decode(), "", bool(int(flags, 16) & 1))
    return None


_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")


def apart() -> Context:
    """A copy of the context without the turn: for a task that outlives it."""
    context = copy_context()
    context.run(_forget)
    return context


def _forget() -> None:
    TRACE.set(None)
    TURN.set(None)
    if tracer is not None:
        from .otel import forget

        forget()
