"""Processing: the answer to one turn as metrics and traces see it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from forebay.telemetry import tracing
from forebay.workers import metrics, spans

from .inbound import InboundRecord
from .publication import Publication


class Processing:
    """Entered around an answer, in a task of its own: the turn's trace is that of the whole task."""

    __slots__ = ("_group", "_received", "_span", "began")

    def __init__(self, inbound: InboundRecord, group: str) -> None:
        self.began = time.time()
        """Seconds since the epoch."""
        self._received, self._group = inbound, group
        if inbound.headers:
            tracing.TRACE.set(tracing.trace_of(inbound.headers))
        self._span = spans.process(inbound, group)

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._span.__exit__(kind, error, where)

    def ended(self, publication: Publication) -> None:
        """The answer is on its way."""
        queued_s = max(0.0, self.began - self._received.timestamp / 1000)
        seconds, exemplar = time.time() - self.began, tracing.exemplar()
        error = "" if publication.failure is None else publication.failure.reason.value
        metrics.QUEUED.observe(queued_s, exemplar)
        metrics.ANSWERING.observe(seconds, exemplar)
        metrics.processed(self._received.topic, self._group, error).observe(seconds, exemplar)
        if self._span.recording:
            self._span.set({"forebay.queued_s": round(queued_s, 3), "forebay.outcome": publication.outcome})
        if error:
            self._span.failed(error)
