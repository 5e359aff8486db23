"""What every command does the same way: how it runs, prints JSON, and fails in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from forebay.schemas.extras import needs

EXTRAS = {
    "assistant": "worker",
    "broker": "local",
    "deliver": "deliver",
    "demo": "local",
    "gateway": "gateway",
    "model-api": "model-api",
    "rehearse": "local",
    "token": "gateway",
    "worker": "worker",
}
"""Which extra a command needs; the others run with none."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class CommandFailed(Exception):
    """Ends the command with one line and exit status 1."""


def end(error: Exception) -> NoReturn:
    """Ends the process: says what was wrong, a line for each of the error's, or raises an error that nobody expects."""
    # They are loaded by what raises them; a command that only prints its help needs none.
    from aiokafka.errors import KafkaError

    from forebay.schemas import ClusterError, SettingsError

    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if isinstance(error, ModuleNotFoundError) and command in EXTRAS and not (error.name or "").startswith("forebay"):
        error = SettingsError(needs(f"forebay {command}", EXTRAS[command]))
    if not isinstance(error, (SettingsError, ClusterError, KafkaError, OSError, CommandFailed)):
        raise error
    for line in str(error).splitlines() or [type(error).__name__]:
        typer.echo(f"forebay: {line}", err=True)
    sys.exit(2 if isinstance(error, SettingsError) else 1)


def read_dotenv(file: Path) -> None:
    """Puts what stands in the file, if there is one, into the environment. Raises SettingsError."""
    if not file.exists():
        return
    from dotenv import load_dotenv

    from forebay.schemas import SettingsError

    try:
        load_dotenv(file)
    except UnicodeDecodeError as error:
        raise SettingsError(f".env is not UTF-8: {error}") from error


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs on uvloop where it exists: it saves a third of the event loop's CPU."""
    import asyncio

    runner: Callable[..., Any] = asyncio.run
    try:
        import uvloop
    except ImportError:
        return runner(work)
    return uvloop.run(work)


def print_json(data: object) -> None:
    """Prints JSON, indented."""
    import orjson

    typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def moment_of(option: str, text: str | None) -> datetime | None:
    """The time that an option's text means; None for None. Raises typer.BadParameter."""
    from forebay.operations.times import read_time

    try:
        return None if text is None else read_time(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{option} {text!r}: write a time such as 2026-11-11T00:00Z, or how long ago: 90s, 15m, 2h, 3d"
        ) from None
