"""``forebay cancel``: takes back a turn."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import Json, print_json, run


def cancel(
    turn: Annotated[str, typer.Argument(help="Id of the turn.")],
    conversation: Annotated[str, typer.Option(help="Id of its conversation.")],
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait for its reply.")] = 5.0,
    json: Json = False,
) -> None:
    """Takes back a turn. Exit 1 when it came too late: the turn had its reply, or got another one."""
    from pydantic import ValidationError

    from forebay.schemas import Cluster

    from .ask_replies import printable
    from .cancelling import cancel_turn, sentence

    try:
        found = run(cancel_turn(Cluster.read(), turn, conversation, wait))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if json:
        print_json(found.fields())
    else:
        typer.echo(printable(sentence(found)))
    if found.status == "too_late":
        raise typer.Exit(1)
