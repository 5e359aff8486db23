"""``forebay ask``: one turn, or a file of turns, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forebay.schemas.when_busy import WhenBusy

from .command import CommandFailed, Json, run


def ask(
    text: Annotated[str | None, typer.Argument(help="What the user says.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="One turn a line: text, or a JSON chat turn. - is standard input.")
    ] = None,
    conversation: Annotated[str | None, typer.Option(help="Goes on with this conversation.")] = None,
    user: Annotated[str | None, typer.Option(help="Id of the user who asks.")] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Agrees to an action, in place of TEXT.")
    ] = None,
    decline: Annotated[str | None, typer.Option(metavar="ACTION", help="Declines an action, in place of TEXT.")] = None,
    when_busy: Annotated[
        WhenBusy | None,
        typer.Option(help="What it does while the conversation has an unfinished turn; default: the assistant's rule."),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the words as they come.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for each reply.")] = 120.0,
    json: Json = False,
) -> None:
    """Sends one turn, or a file of them, and prints the replies. Exit 1 when a turn got no answer.

    Ctrl-C takes back what has no reply yet.
    """
    from pydantic import ValidationError

    from forebay.producers import ReplyTimeoutError, new_turn
    from forebay.schemas import Cluster, Confirm

    from .ask_replies import ask_file, ask_once

    if sum(given is not None for given in (text, file, confirm, decline)) != 1:
        raise typer.BadParameter(
            "give TEXT, --file with one turn a line, or --confirm or --decline with an action's id"
        )
    cluster = Cluster.read()
    try:
        if file is not None:
            answered = run(ask_file(cluster, file, conversation, when_busy, timeout, json))
        else:
            action = confirm or decline
            word = Confirm(action_id=action, accept=decline is None) if action else None
            given = {} if when_busy is None else {"when_busy": when_busy}
            turn = new_turn(text or "", conversation_id=conversation, user_id=user, confirm=word, **given)
            answered = run(ask_once(cluster, turn, stream, timeout, json))
    except ReplyTimeoutError as error:
        raise CommandFailed(str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc'])) or 'the turn'}: {first['msg']}") from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not answered:
        raise typer.Exit(1)
