"""Logs: one JSON object a line on standard error, the libraries' own lines included."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Literal

import orjson
import structlog

from . import tracing

_NAMES = frozenset(
    {
        "turn_id",
        "conversation_id",
        "trace_id",
        "span_id",
        "request_id",
        "timestamp",
        "level",
        "worker",
        "upstream",
    }
)
"""Fields that are never redacted: ids and codes that people search for."""


def configure(
    form: Literal["json", "console"],
    level: int = logging.INFO,
    hide: Callable[[str], str] | None = None,
    **context: Any,
) -> None:
    """Sends structlog and the standard library's logging to standard error in one form; ``context`` is on every line.

    ``hide`` removes personal data from texts: a provider's error may quote what a customer wrote.
    """

    def without_personal_data(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        for name, value in event.items():
            if isinstance(value, str) and name not in _NAMES and hide is not None:
                event[name] = hide(value)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _about_turn,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: Any
    # Tracebacks become text before they are searched; with the values of local variables they would tell too much.
    shared += [structlog.processors.format_exc_info, without_personal_data]
    if form == "json":
        render = structlog.processors.JSONRenderer(
            serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
        )
    else:
        plain = structlog.dev.plain_traceback
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # aiokafka tells every step of a rebalance and every refused connection of every retry; we tell what follows.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells session ids
    structlog.contextvars.bind_contextvars(**context)


def _about_turn(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Says which turn a line is about, and where in which trace."""
    if (turn := tracing.TURN.get()) is not None:
        event.setdefault("turn_id", turn[0])
        event.setdefault("conversation_id", turn[1])
    if (trace := tracing.TRACE.get()) is not None:
        event.setdefault("trace_id", trace.trace_id)
        if trace.span_id:
            event.setdefault("span_id", trace.span_id)
    return event
