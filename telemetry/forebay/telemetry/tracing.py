"""Tracing: where a turn is on its way, as traces, log lines and exemplars tell it.

OpenTelemetry is an extra. Until `switch_on` every span is `NOTHING` and costs next to nothing; what is known then is the
trace that a turn brought along in its W3C ``traceparent``.
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
"""By the names of the semantic conventions. Ids, counts and codes: never what a user or a model said."""

CANCELLED = "cancelled"
"""The ``error.type`` of what nobody waits for any more: something else was faster, or the process stops."""


class Trace(NamedTuple):
    """A place in a trace; ids in hexadecimal, as ``traceparent`` has them."""

    trace_id: str
    span_id: str
    """Of our own span; empty where the trace is somebody else's and we add nothing to it."""
    sampled: bool
    """Whether the trace is recorded, as its first span decided."""


TRACE: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""Where we are."""
TURN: ContextVar[tuple[str, str] | None] = ContextVar("turn", default=None)
"""(turn id, conversation id) of the turn that all this is about."""


class Span:
    """One step of the way. This one is `NOTHING`: what is told to it is lost."""

    __slots__ = ()
    recording = False
    """Whether somebody will read it: what costs time to find out need not be told otherwise."""

    def set(self, attributes: Attributes) -> None:
        """Adds what has become known."""

    def failed(self, error: str) -> None:
        """It came to nothing; ``error`` is a code. The first one counts."""

    def carrying(self, headers: Headers) -> Headers:
        """The headers with this step as the parent of what the receiver does."""
        return headers

    def ends_with(self, done: Future[Any]) -> None:
        """It is over when this is, and failed if this did."""

    def end(self) -> None:
        """It is over; not needed where it was entered."""

    def __enter__(self) -> Self:
        """Makes it the parent of the steps that begin until it is left."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        return None


NOTHING = Span()


class Tracer(Protocol):
    """What makes spans."""

    def start(self, name: str, kind: Kind, attributes: Attributes, parent: Headers | None = None) -> Span:
        """Begins a step: of the trace in the headers of ``parent``, or else under the step we are in."""


tracer: Tracer | None = None
"""None while traces are off."""


def switch_on(made: Tracer) -> None:
    """From now on steps are recorded."""
    global tracer
    tracer = made


def switch_off() -> None:
    """From now on they are not."""
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
    """The step that gives one record to Kafka; it ends with the acknowledgement."""
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
    """While it is entered, log lines tell this turn, and the trace that it brought where we record none."""

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
    """What leads from a measured value to its trace; None where that is not recorded, as OpenTelemetry advises."""
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
    """This context without the turn: for a task that outlives it."""
    context = copy_context()
    context.run(_forget)
    return context


def _forget() -> None:
    TRACE.set(None)
    TURN.set(None)
    if tracer is not None:
        from .otel import forget

        forget()
