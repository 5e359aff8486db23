"""What every command does the same way: how it runs, prints JSON, and fails in one line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class CommandFailed(Exception):
    """Ends the command with one line and exit status 1."""


def fail(error: Exception, status: int) -> NoReturn:
    """Says what was wrong, a line for each of the error's, and ends the process."""
    for line in str(error).splitlines() or [type(error).__name__]:
        typer.echo(f"forebay: {line}", err=True)
    sys.exit(status)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs on uvloop where it exists: it saves a third of the event loop's CPU."""
    runner: Callable[..., Any] = asyncio.run
    try:
        import uvloop
    except ImportError:
        return runner(work)
    return uvloop.run(work)


def print_json(data: object) -> None:
    """For people and programs alike: indented."""
    import orjson

    typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def moment_of(option: str, text: str | None) -> datetime | None:
    """The time that an option gives. Raises typer.BadParameter."""
    from forebay.operations.times import read_time

    try:
        return None if text is None else read_time(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{option} {text!r}: write a time such as 2026-11-11T00:00Z, or how long ago: 90s, 15m, 2h, 3d"
        ) from None
