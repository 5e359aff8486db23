"""``forebay handoffs``: conversations that a person has taken over."""

from __future__ import annotations

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
    from forebay.operations.handoffs import give_back
    from forebay.workers.conversations import StoreError
    from forebay.workers.store_settings import StoreSettings

    try:
        given_back = run(give_back(StoreSettings.read(), conversations))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except FileNotFoundError as error:
        raise CommandFailed(str(error)) from None
    except (StoreError, OSError) as error:
        raise CommandFailed(f"the store: {' '.join(str(error).split())}") from error
    if json:
        print_json(given_back)
    else:
        for name, done in given_back.items():
            typer.echo(f"{name}: {'the assistant answers again' if done else 'no person had taken over'}")
    if not all(given_back.values()):
        raise typer.Exit(1)
