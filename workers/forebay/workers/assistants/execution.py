"""Execution: one run of a tool as metrics and traces see it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal, Self

from forebay.telemetry import tracing
from forebay.workers import metrics, spans


class Execution:
    """Entered around a run; it has failed until it is told otherwise."""

    __slots__ = ("_began", "_span", "_tool", "outcome")

    def __init__(self, tool: str, call_id: str) -> None:
        self.outcome: Literal["ok", "failed", "timeout"] = "failed"
        self._tool = tool
        self._span = spans.execute_tool(tool, call_id)
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        self._span.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        name, code = metrics.TOOLS(self._tool), "" if self.outcome == "ok" else self.outcome
        metrics.TOOL_CALLS.labels(name, self.outcome).inc()
        metrics.TOOL_SECONDS.labels(name, code).observe(time.perf_counter() - self._began, tracing.exemplar())
        if code:
            self._span.failed(code)
        self._span.__exit__(kind, error, where)
