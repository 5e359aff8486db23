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

_LIBRARIES = {
    # aiokafka tells every step of a rebalance and every refused connection of every retry; we tell what follows.
    "aiokafka": logging.CRITICAL,
    "aiohttp.access": logging.WARNING,
    "httpx2": logging.WARNING,
    "mcp": logging.WARNING,  # it tells session ids
}
"""The least level at which these libraries log."""


def configure(
    form: Literal["json", "console"],
    level: int = logging.INFO,
    hide: Callable[[str], str] | None = None,
    **context: Any,
) -> None:
    """Sends structlog and the standard library's logging to standard error in one form; ``context`` is on every line.

    ``hide`` removes personal data from texts: a provider's error may quote what a customer wrote.
    """

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _about_turn,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Tracebacks become text before they are searched; with the values of local variables they would tell too much.
        structlog.processors.format_exc_info,
    ]
    if hide is not None:
        shared.append(_hiding(hide))
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(form)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(least)
    structlog.contextvars.bind_contextvars(**context)


def _renderer(form: Literal["json", "console"]) -> Any:
    if form == "json":
        return structlog.processors.JSONRenderer(
            serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
        )
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)


def _hiding(hide: Callable[[str], str]) -> Any:
    """Applies ``hide`` to the texts of a log line."""

    def without_personal_data(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        for name, value in event.items():
            if isinstance(value, str) and name not in _NAMES:
                event[name] = hide(value)
        return event

    return without_personal_data


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
