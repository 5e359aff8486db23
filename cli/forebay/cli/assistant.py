"""``forebay assistant``: the definition that workers answer with."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import Json, print_json, run

assistant = typer.Typer(help="The assistant that workers answer with.", no_args_is_help=True, rich_markup_mode=None)


@assistant.callback()
def _only_group() -> None:
    """The assistant that workers answer with."""


@assistant.command()
def check(
    name: Annotated[
        str | None, typer.Argument(metavar="ASSISTANT", help="package.module:attribute; default FOREBAY_ASSISTANT.")
    ] = None,
    json: Json = False,
) -> None:
    """Reads an assistant's definition and prints what it means. Exit 2 for a mistake in it, with the fix."""
    from forebay.operations.assistant_check import understood
    from forebay.workers.settings import WorkerSettings

    from .assistant_screen import show

    found = run(understood(WorkerSettings.read(assistant=name)))
    if json:
        print_json(found)
    else:
        show(found)
