"""Sends the turns of ``forebay ask`` and prints their replies."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from forebay.producers import ChatClient, ReplyTimeoutError, new_turn
from forebay.schemas import Cluster, DecodeError, Reply, Turn, decode_turn, encode
from forebay.schemas.when_busy import WhenBusy

_AT_ONCE = 1_000
"""Most turns of a file that wait for their replies at the same time."""
_TAKEN_BACK_WITHIN_S = 5.0


async def ask_once(cluster: Cluster, turn: Turn, stream: bool, timeout_s: float, as_json: bool) -> bool:
    """Sends one turn and prints its reply; returns False for one that got no answer. Interrupted, it takes the turn back."""
    async with ChatClient(cluster) as chat, _taking_back(chat, {turn.turn_id: turn}):
        if not stream:
            reply = await chat.ask(turn, timeout_s=timeout_s, follow_merged=True)
            _print(reply, as_json)
            return _well(reply)
        shown = ""
        async for heard in chat.stream(turn, timeout_s=timeout_s, follow_merged=True):
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


@asynccontextmanager
async def _taking_back(chat: ChatClient, waiting: dict[str, Turn]) -> AsyncIterator[None]:
    """Interrupted by Ctrl-C, takes back the turns that still wait, and says so."""
    try:
        yield
    except asyncio.CancelledError:
        turns = list(waiting.values())
        taken = await asyncio.wait_for(
            asyncio.gather(*map(chat.cancel, turns), return_exceptions=True), _TAKEN_BACK_WITHIN_S
        )
        for turn, failed in zip(turns, taken, strict=True):
            why = f"cannot be taken back: {' '.join(str(failed).split())}" if failed is not None else "taken back"
            typer.echo(f"forebay: turn {turn.turn_id} {why}", err=True)
        raise


async def ask_file(
    cluster: Cluster, file: Path, conversation: str | None, when_busy: WhenBusy | None, timeout_s: float, as_json: bool
) -> bool:
    """Sends every line of a file and prints the replies in its order; returns whether all were answered.

    ``when_busy`` is for lines that say nothing about it. Interrupted, it takes back the turns that have no reply.
    """
    turns = list(_turns(file, conversation, when_busy))
    permits, unanswered = asyncio.Semaphore(_AT_ONCE), 0
    waiting: dict[str, Turn] = {}
    async with ChatClient(cluster) as chat, _taking_back(chat, waiting):
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("waiting for replies", total=len(turns))

            async def reply_to(turn: Turn) -> Reply | None:
                waiting[turn.turn_id] = turn
                try:
                    reply = await chat.ask(turn, timeout_s=timeout_s, follow_merged=True)
                except ReplyTimeoutError:
                    return None
                else:
                    del waiting[turn.turn_id]
                    return reply
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


def _turns(file: Path, conversation: str | None, when_busy: WhenBusy | None) -> Iterator[Turn]:
    """Raises ValueError naming the line that is no turn."""
    given = {} if when_busy is None else {"when_busy": when_busy}
    text = sys.stdin.read() if str(file) == "-" else file.read_text()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            if line.startswith("{"):
                turn = decode_turn(line.encode())
                yield turn if turn.when_busy is not None else turn.model_copy(update=given)
            else:
                yield new_turn(line, conversation_id=conversation, **given)
        except ValidationError as error:
            raise ValueError(f"{file}, line {number}: {error.errors()[0]['msg']}") from None
        except DecodeError as error:
            raise ValueError(f"{file}, line {number}: {error}") from None


def _well(reply: Reply) -> bool:
    """Whether the turn got an answer."""
    return reply.outcome not in ("failed", "expired", "cancelled")


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
