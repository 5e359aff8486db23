"""``forebay handoffs``: conversations that a person has taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .command import CommandFailed, Json, print_json, run

handoffs = typer.Typer(help="Conversations that a person has taken over.", no_args_is_help=True, rich_markup_mode=None)


@handoffs.callback()
def _only_group() -> None:
    """Conversations that a person has taken over."""


@handoffs.command("return")
def return_conversations(
    conversations: Annotated[list[str], typer.Argument(help="Ids of conversations.")],
    json: Json = False,
) -> None:
    """Gives conversations back to the assistant. Exit 1 when no person had taken over one of them."""
    from forebay.workers.conversations import StoreError, open_store
    from forebay.workers.settings import WorkerSettings

    for name in conversations:
        if any("\ud800" <= char <= "\udfff" for char in name):
            raise typer.BadParameter(f"{name!a} is not UTF-8, and so no id of a conversation")
    url = WorkerSettings.read().store
    _must_exist(url)

    async def give_back() -> dict[str, bool]:
        store = open_store(url)
        try:
            return {name: await store.give_back(name) for name in conversations}
        finally:
            await store.close()

    try:
        given_back = run(give_back())
    except (StoreError, OSError) as error:
        raise CommandFailed(f"the store: {' '.join(str(error).split())}") from error
    if json:
        print_json(given_back)
    else:
        for name, done in given_back.items():
            typer.echo(f"{name}: {'the assistant answers again' if done else 'no person had taken over'}")
    if not all(given_back.values()):
        raise typer.Exit(1)


def _must_exist(url: str) -> None:
    """SQLite would make a file that is not there, and say of it that no person had taken over."""
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path and not Path(path).exists():
        raise CommandFailed(
            f"FOREBAY_STORE={url}: there is no such file; run this where the workers run, or set FOREBAY_STORE"
        )
