"""Sends the turns of ``forebay ask`` and prints their replies."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from forebay.producers import ChatClient, ReplyTimeoutError, new_turn
from forebay.schemas import Cluster, DecodeError, Reply, Turn, decode_turn, encode

_AT_ONCE = 1_000
"""Most turns of a file that wait for their replies at the same time."""


async def ask_once(cluster: Cluster, turn: Turn, stream: bool, timeout_s: float, as_json: bool) -> bool:
    """Sends one turn and prints its reply; returns False for one that failed or expired."""
    async with ChatClient(cluster) as chat:
        if not stream:
            reply = await chat.ask(turn, timeout_s=timeout_s)
            _print(reply, as_json)
            return _well(reply)
        shown = ""
        async for heard in chat.stream(turn, timeout_s=timeout_s):
            if isinstance(heard, Reply):
                reply = heard
            elif not as_json:
                if heard.restart:
                    typer.echo("\n", nl=False)
                    shown = ""
                shown += heard.text
                typer.echo(printable(heard.text), nl=False)
    if as_json or shown != reply.text:
        typer.echo("" if not shown or as_json else "\n", nl=False)
        _print(reply, as_json)
    else:
        typer.echo()
    return _well(reply)


async def ask_file(cluster: Cluster, file: Path, conversation: str | None, timeout_s: float, as_json: bool) -> bool:
    """Sends every line of a file and prints the replies in its order; returns whether all were answered."""
    turns = list(_turns(file, conversation))
    permits, unanswered = asyncio.Semaphore(_AT_ONCE), 0
    async with ChatClient(cluster) as chat:
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("waiting for replies", total=len(turns))

            async def reply_to(turn: Turn) -> Reply | None:
                try:
                    return await chat.ask(turn, timeout_s=timeout_s)
                except ReplyTimeoutError:
                    return None
                finally:
                    permits.release()
                    progress.advance(bar)

            asked = []
            for turn in turns:
                await permits.acquire()
                asked.append(asyncio.create_task(reply_to(turn)))
            for turn, task in zip(turns, asked, strict=True):
                reply = await task
                if reply is None:
                    typer.echo(f"forebay: no reply to turn {turn.turn_id} within {timeout_s:g} s", err=True)
                else:
                    _print(reply, as_json)
                unanswered += reply is None or not _well(reply)
    return unanswered == 0


def _turns(file: Path, conversation: str | None) -> Iterator[Turn]:
    """Raises ValueError naming the line that is no turn."""
    text = sys.stdin.read() if str(file) == "-" else file.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield decode_turn(line.encode()) if line.startswith("{") else new_turn(line, conversation_id=conversation)
        except ValidationError as error:
            raise ValueError(f"{file}, line {number}: {error.errors()[0]['msg']}") from None
        except DecodeError as error:
            raise ValueError(f"{file}, line {number}: {error}") from None


def _well(reply: Reply) -> bool:
    """Whether the turn neither failed nor expired."""
    return reply.outcome not in ("failed", "expired")


def _print(reply: Reply, as_json: bool) -> None:
    if as_json:
        # Only a JSON string can hold such a character, and there its escape means the same.
        typer.echo("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in encode(reply).decode()))
    elif reply.outcome == "answered":
        typer.echo(printable(reply.text))
    elif reply.action is not None:
        typer.echo(
            printable(
                f"{reply.text}\n[to agree: --conversation {reply.conversation_id} --confirm {reply.action.action_id}]"
            )
        )
    else:
        reason = f": {reply.error.message}" if reply.error else ""
        typer.echo(printable(f"[{reply.outcome}{reason}] {reply.text}"))


def printable(text: str) -> str:
    """Text from a model or a customer without control characters, which could change the reader's terminal."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
