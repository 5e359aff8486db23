"""Execution: one run of a tool as metrics and traces see it."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal, Self

from forebay.telemetry import tracing
from forebay.telemetry.tracing import NOTHING, Span
from forebay.workers import metrics


class Execution:
    """Entered around a run; it has failed until it is told otherwise."""

    __slots__ = ("_began", "_span", "_tool", "outcome")

    def __init__(self, tool: str, call_id: str) -> None:
        self.outcome: Literal["ok", "failed", "timeout"] = "failed"
        self._tool = tool
        self._span = tool_span(tool, call_id)
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


def tool_span(name: str, call_id: str) -> Span:
    """One run of a tool."""
    if tracing.tracer is None:
        return NOTHING
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.id": call_id,
        "gen_ai.tool.type": "function",
    }
    return tracing.tracer.start(f"execute_tool {name}", "internal", attributes)
