"""``forebay dlq``: look at dead letters, send them again, delete them."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from .command import CommandFailed, Json, moment_of, run
from .dlq_options import (
    Conversation,
    DryRun,
    Ids,
    OfTopic,
    Reasons,
    Since,
    Tenant,
    Until,
    Yes,
    chosen_or_all,
    filter_of,
    id_of,
)

if TYPE_CHECKING:
    import asyncio

    from forebay.operations import DeadLetter, Purge, Replayed, ReplayPlan
    from forebay.operations.dead_letters.dead_letters import Died
    from forebay.schemas import Cluster

dlq = typer.Typer(
    help="Dead letters: turns without an answer, replies that were not delivered.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Result = TypeVar("Result")


@dlq.command("list")
def list_letters(
    reason: Reasons = None,
    conversation: Conversation = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=0, help="Letters on a page; 0 is all.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Goes on behind the last letter of a page.")] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
    topic: OfTopic = "requests",
    json: Json = False,
) -> None:
    """Dead letters, the newest first. With --json one letter a line, whole."""
    from forebay.operations import DeadLetters

    from .dlq_screen import as_json, headline, json_lines, row

    if oldest and after is not None:
        raise typer.BadParameter("--after goes on where the newest come first: give it without --oldest")
    cluster, dead_letters, _ = _cluster(topic)
    wanted = filter_of(dead_letters, reason, conversation, tenant, since, until)
    behind = id_of(after, dead_letters) if after is not None else None
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    async def read() -> tuple[int, DeadLetter | None]:
        shown, letter = 0, None
        async with DeadLetters(cluster, topic) as letters:
            async for letter in letters.browse(wanted, newest_first=not oldest, limit=limit or None, after=behind):
                if not shown and not json:
                    typer.echo(headline(width))
                typer.echo(json_lines(as_json(letter)) if json else row(letter, width))
                shown += 1
        return shown, letter

    shown, last = _run(read())
    if not shown and not json:
        typer.echo("no dead letters match")
    if last is not None and shown == limit and not json and not oldest:
        typer.echo(f"more: the same with --after {last.id}", err=True)


@dlq.command()
def show(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Letters by id, such as 3-1042.")],
    topic: OfTopic = "requests",
    json: Json = False,
) -> None:
    """Dead letters with all headers and their value. With --json one letter a line."""
    from forebay.operations import DeadLetters

    from .dlq_screen import as_json, json_lines, whole

    cluster, dead_letters, _ = _cluster(topic)
    places = [id_of(text, dead_letters) for text in ids]

    async def read() -> list[DeadLetter]:
        async with DeadLetters(cluster, topic) as letters:
            return [await letters.get(place) for place in places]

    for letter in _run(read()):
        for line in [json_lines(as_json(letter))] if json else [*whole(letter), ""]:
            typer.echo(line)


@dlq.command()
def replay(
    ids: Ids = None,
    reason: Reasons = None,
    conversation: Conversation = None,
    tenant: Tenant = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="At most so many a second.")] = None,
    max_replays: Annotated[int, typer.Option(min=1, help="Leave out what was replayed so often already.")] = 3,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
    topic: OfTopic = "requests",
    json: Json = False,
) -> None:
    """Sends dead letters again, as they are, in order. Can be broken off at any time: the same command goes on."""
    from forebay.operations import DeadLetters, Filter

    from .dlq_screen import histogram, progress, report

    cluster, dead_letters, target = _cluster(topic)
    wanted = filter_of(dead_letters, reason, conversation, tenant, since, until, ids)
    chosen_or_all(everything, chosen=wanted != Filter())
    _able_to_ask(yes or dry_run)

    async def look() -> ReplayPlan:
        async with DeadLetters(cluster, topic) as letters:
            return await letters.plan(wanted, again=again, max_replays=max_replays)

    plan = _run(look())
    total = min(plan.selected, limit or plan.selected)
    if not json:
        _echo(histogram(plan, max_replays))
    if not total or dry_run:
        report(plan, None, 0.0, again, json)
        return
    if not yes:
        _ask(f"Replay {total:,} dead letters to {target}?")
    heard, began = list[int](), time.monotonic()

    async def send() -> Replayed:
        stop = _stop_on_signals(heard)
        async with DeadLetters(cluster, topic) as letters:
            with progress(total) as watch:
                return await letters.replay(plan, rate=rate, limit=limit, on_progress=watch, stop=stop)

    done = _run(send())
    report(plan, done, time.monotonic() - began, again, json)
    if done.stopped:
        raise typer.Exit(128 + heard[0])
    if done.too_large:
        raise typer.Exit(1)


@dlq.command()
def purge(
    before: Annotated[
        str | None, typer.Option(help="What died before this time, written as for --since of list.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are now.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    topic: OfTopic = "requests",
    json: Json = False,
) -> None:
    """Deletes dead letters for good, replayed or not."""
    from forebay.operations import DeadLetters

    from .dlq_screen import counted, json_lines

    cluster, dead_letters, _ = _cluster(topic)
    chosen_or_all(everything, chosen=before is not None, what="--before with a time")
    moment = moment_of("--before", before)
    _able_to_ask(yes or dry_run)

    async def look() -> Purge:
        async with DeadLetters(cluster, topic) as letters:
            return await letters.plan_purge(moment)

    found = _run(look())
    if not json:
        _echo(counted(found.reasons))
        typer.echo(f"{found.letters:>10,}  to delete: {found.replayed:,} replayed, {sum(found.reasons.values()):,} not")
    if found.letters and not dry_run:
        if not yes:
            _ask(f"Delete {found.letters:,} dead letters from {dead_letters} for good?")

        async def delete() -> None:
            async with DeadLetters(cluster, topic) as letters:
                await letters.purge(found)

        _run(delete())
    if json:
        figures = {"dry_run": dry_run, "letters": found.letters, "replayed": found.replayed, "reasons": found.reasons}
        typer.echo(json_lines(figures, indent=True))
    elif found.letters and not dry_run:
        typer.echo(f"deleted {found.letters:,} dead letters")


# -- what the commands share -------------------------------------------------------------------------------------------


def _cluster(of: Died) -> tuple[Cluster, str, str]:
    """With the topic of the dead letters, and that of their replay."""
    from forebay.operations.dead_letters.dead_letters import topics_of
    from forebay.schemas import Cluster

    cluster = Cluster.read()
    return cluster, *topics_of(cluster.topics, of)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    from forebay.operations import NoSuchLetterError

    try:
        result: Result = run(work)
    except NoSuchLetterError as error:
        raise CommandFailed(str(error)) from error
    return result


def _able_to_ask(need_not: bool) -> None:
    if not need_not and not sys.stdin.isatty():
        typer.echo("forebay: there is no terminal to ask on: look with --dry-run, then give --yes", err=True)
        raise typer.Exit(2)


def _ask(question: str) -> None:
    if not typer.confirm(question, err=True):
        typer.echo("nothing was done", err=True)
        raise typer.Exit(1)


def _stop_on_signals(heard: list[int]) -> asyncio.Event:
    """The first signal ends it after what is in hand; a second Ctrl-C ends it at once, and Kafka undoes the rest."""
    import asyncio

    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def hear(number: int) -> None:
        heard.append(number)
        stop.set()
        loop.remove_signal_handler(number)

    for wish in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(wish, hear, wish)
    return stop


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)
