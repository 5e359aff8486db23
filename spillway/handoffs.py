"""``spillway handoffs``: conversations that a person has taken over."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import Json, print_json, run

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
    from workers.conversations import open_store
    from workers.settings import WorkerSettings

    async def give_back() -> dict[str, bool]:
        store = open_store(WorkerSettings.read().store)
        try:
            return {name: await store.give_back(name) for name in conversations}
        finally:
            await store.close()

    given_back = run(give_back())
    if json:
        print_json(given_back)
    else:
        for name, done in given_back.items():
            typer.echo(f"{name}: {'the assistant answers again' if done else 'no person had taken over'}")
    if not all(given_back.values()):
        raise typer.Exit(1)
