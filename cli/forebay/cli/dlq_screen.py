"""How dead letters look on a screen. Bytes from anywhere that could change the reader's terminal are escaped."""

from __future__ import annotations

import base64
import json
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import typer
from rich.cells import set_cell_size
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from forebay.operations import DeadLetter, Replayed, ReplayPlan

_COLUMNS = (("ID", 10), ("DIED (UTC)", 19), ("REASON", 18), ("REPLAYED", 14), ("CONVERSATION", 16))
_TEXT = 120
_SHOWN_BYTES = 16 * 1024
_TELL_S = 10.0


def visible(text: str) -> str:
    """The text with everything that is not a letter, sign or space as an escape that JSON reads, such as ``\\u001b``.

    That is control characters, and those that hide or reverse what stands beside them.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else json.dumps(letter)[1:-1]
        for letter in text
    )


def visible_bytes(data: bytes | None) -> str:
    """Bytes as text; what is not UTF-8 as ``\\xff``."""
    return "(none)" if data is None else visible(data.decode("utf-8", "backslashreplace"))


def headline(width: int | None) -> str:
    """The column names above the lines of `row`."""
    return _line([name for name, _ in _COLUMNS], "TEXT", width)


def row(letter: DeadLetter, width: int | None) -> str:
    """A letter in one line, cut to a width in terminal cells."""
    text = visible(letter.text[:_TEXT]) if letter.text is not None else visible_bytes((letter.value or b"")[:_TEXT])
    cells = [
        str(letter.id),
        f"{letter.died_at:%Y-%m-%d %H:%M:%S}",
        visible(letter.reason),
        "yes" if letter.replayed else f"no ({letter.replays}x before)" if letter.replays else "no",
        visible((letter.conversation_id or "")[:_TEXT]),
    ]
    return _line(cells, text, width)


def whole(letter: DeadLetter) -> Iterator[str]:
    """All lines that show one letter."""
    yield f"{letter.id}  {visible(letter.topic)}"
    yield f"died      {letter.died_at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"
    yield f"reason    {visible(letter.reason) or '(none)'}"
    yield f"message   {visible(letter.message)}"
    yield f"replayed  {'yes' if letter.replayed else 'no'}; its turn was replayed {letter.replays} times before it died"
    yield f"key       {visible_bytes(letter.key)}"
    yield "headers"
    for name, value in letter.headers:
        yield f"  {visible(name)}: {visible_bytes(value)}"
    yield "value     (none, a tombstone)" if letter.value is None else f"value     {len(letter.value):,} bytes"
    yield from _value(letter.value or b"")


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """One letter for programs: what is not UTF-8 stands as base64 under a name that says so."""
    return {
        "id": str(letter.id),
        "topic": letter.topic,
        "partition": letter.id.partition,
        "offset": letter.id.offset,
        "died_at": letter.died_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "reason": letter.reason,
        "message": letter.message,
        "attempts": letter.attempts,
        "replays": letter.replays,
        "replayed": letter.replayed,
        "turn_id": letter.turn_id,
        "conversation_id": letter.conversation_id,
        "tenant": letter.tenant,
        **_named("key", letter.key),
        **_named("value", letter.value),
        "headers": [{"name": name, **_named("value", value)} for name, value in letter.headers],
    }


def json_lines(data: object, *, indent: bool = False) -> str:
    """JSON that is safe on a terminal: what `visible` touches is only found in strings, where its escapes mean the same."""
    option = orjson.OPT_INDENT_2 if indent else 0
    return "\n".join(map(visible, orjson.dumps(data, option=option).decode().split("\n")))


def histogram(plan: ReplayPlan, max_replays: int) -> Iterator[str]:
    """What a plan would replay, by reason, and what it leaves out and why."""
    yield from counted(plan.reasons)
    yield f"{plan.selected:>10,}  to replay"
    if plan.replayed_before:
        yield f"{plan.replayed_before:>10,}  left out: replayed before (--again sends them once more)"
    if plan.worn_out:
        yield f"{plan.worn_out:>10,}  left out: replayed {max_replays} times already (--max-replays raises it)"


def counted(reasons: dict[str, int]) -> Iterator[str]:
    """A line for each reason."""
    for reason, count in reasons.items():
        yield f"{count:>10,}  {visible(reason[:_TEXT]) or '(no reason)'}"


def _line(cells: list[str], text: str, width: int | None) -> str:
    fixed = [set_cell_size(cell, size) for cell, (_, size) in zip(cells, _COLUMNS, strict=True)]
    line = "  ".join([*fixed, text])
    return line.rstrip() if width is None else set_cell_size(line, width).rstrip()


def _value(value: bytes) -> Iterator[str]:
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        shown = visible_bytes(value[:_SHOWN_BYTES])
    else:
        pretty = orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode()
        shown = "\n".join(map(visible, pretty[:_SHOWN_BYTES].split("\n")))
    yield shown
    if len(value) > _SHOWN_BYTES:
        yield f"... of {len(value):,} bytes; --json prints all"


def _named(name: str, data: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if data is None else data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data or b"").decode()}


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        told = time.monotonic()

        def tell(sent: int) -> None:
            nonlocal told
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                typer.echo(f"replayed {sent:,} of {total:,}", err=True)

        yield tell
        return
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda sent: bar.update(task, completed=sent)


def report(plan: ReplayPlan, done: Replayed | None, took_s: float, again: bool, as_json: bool) -> None:
    """What a replay did; ``done`` is None where it was not begun."""
    if as_json:
        figures = {
            "selected": plan.selected,
            "replayed": done.replayed if done else 0,
            "replayed_before": plan.replayed_before,
            "worn_out": plan.worn_out,
            "too_large": [str(place) for place in done.too_large] if done else [],
            "reasons": plan.reasons,
            "seconds": round(took_s, 3),
            "stopped": done.stopped if done else False,
        }
        typer.echo(json_lines(figures, indent=True))
    elif done:
        typer.echo(f"replayed {done.replayed:,} dead letters in {took_s:.1f} s")
    if done and done.stopped:
        rest = "with --again it would begin anew" if again else "the same command goes on with the rest"
        typer.echo(f"forebay: stopped: {rest}", err=True)
    if done and done.too_large:
        named = ", ".join(map(str, done.too_large[:20]))
        fix = "raise its max.message.bytes, then run the same command"
        typer.echo(f"forebay: {len(done.too_large)} larger than the topic takes: {named}: {fix}", err=True)
