"""Processing: the answer to one turn as metrics and traces see it, by OpenTelemetry's conventions for messaging.

What a user, a model or a tool said is never in a span.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from forebay.schemas import identity
from forebay.telemetry import tracing
from forebay.telemetry.tracing import NOTHING, Span
from forebay.workers import metrics

from .inbound import InboundRecord
from .outbox import OutboundRecord
from .publication import Publication


class Processing:
    """Entered around an answer, in a task of its own: the turn's trace is that of the whole task."""

    __slots__ = ("_began", "_group", "_inbound", "_span")

    def __init__(self, inbound: InboundRecord, group: str) -> None:
        self._began = time.time()
        self._inbound, self._group = inbound, group
        if inbound.headers:
            tracing.TRACE.set(tracing.trace_of(inbound.headers))
        self._span = process_span(inbound, group)

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._span.__exit__(kind, error, where)

    def ended(self, publications: Sequence[Publication]) -> None:
        """Counts and times the turn, once its publication is known; with those that were answered together it is one."""
        publication = publications[-1]
        queued_s = max(0.0, self._began - self._inbound.timestamp / 1000)
        seconds, exemplar = time.time() - self._began, tracing.exemplar()
        error = "" if publication.failure is None else publication.failure.reason.value
        if publication.outcome is not None:
            metrics.QUEUED.observe(queued_s, exemplar)
            metrics.ANSWERING.observe(seconds, exemplar)
        metrics.processed(self._inbound.topic, self._group, error).observe(seconds, exemplar)
        if self._span.recording:
            self._span.set({"forebay.queued_s": round(queued_s, 3)})
            if publication.outcome is not None:
                self._span.set({"forebay.outcome": publication.outcome})
        if error:
            self._span.failed(error)


def process_span(inbound: InboundRecord, group: str) -> Span:
    """One turn, from the start of its answer; its parent is the span of whoever sent it."""
    if tracing.tracer is None:
        return NOTHING
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": inbound.topic,
        "messaging.destination.partition.id": str(inbound.partition),
        "messaging.kafka.offset": inbound.offset,
        "messaging.consumer.group.name": group,
        "messaging.message.body.size": len(inbound.value or b""),
    }
    if names := identity(inbound.value):
        attributes["messaging.message.id"], attributes["messaging.message.conversation_id"] = names
    return tracing.tracer.start(f"process {inbound.topic}", "consumer", attributes, inbound.headers)


def sending_spans(records: Sequence[OutboundRecord]) -> Sequence[Span]:
    """The records of one turn on their way to Kafka. Their headers stay as they are: they are the sender's."""
    if tracing.tracer is None:
        return ()
    turn_id, conversation_id = tracing.TURN.get() or (None, None)
    return [tracing.sending(tracing.tracer, record.topic, turn_id, conversation_id) for record in records]
