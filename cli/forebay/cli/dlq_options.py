"""Options of ``forebay dlq`` as filters and times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .command import moment_of

if TYPE_CHECKING:
    from forebay.operations import Filter, LetterId

Ids = Annotated[list[str] | None, typer.Argument(help="Letters by id, such as 3-1042.", show_default=False)]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="Why they died, such as retries_exhausted; may be repeated.")
]
Conversation = Annotated[str | None, typer.Option(help="Of this conversation, by the value or the key.")]
Tenant = Annotated[str | None, typer.Option(help="Of this tenant.")]
Since = Annotated[
    str | None, typer.Option(help="Died at this time or later: 2026-11-11T00:00Z, or 2h for 2 hours ago.")
]
Until = Annotated[str | None, typer.Option(help="Died before this time, written as for --since.")]
OfTopic = Annotated[
    Literal["requests", "replies"], typer.Option("--topic", help="Of turns, or of replies to webhooks.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count, by reason.")]


def filter_of(
    topic: str,
    reasons: list[str] | None,
    conversation: str | None,
    tenant: str | None,
    since: str | None,
    until: str | None,
    ids: list[str] | None = None,
) -> Filter:
    """What these options mean. Raises typer.BadParameter."""
    from forebay.operations import Filter

    return Filter(
        reasons=frozenset(reasons or ()),
        conversation=conversation,
        tenant=tenant,
        since=moment_of("--since", since),
        until=moment_of("--until", until),
        ids=frozenset(id_of(text, topic) for text in ids or ()),
    )


def id_of(text: str, topic: str) -> LetterId:
    """A dead letter's id as written. Raises typer.BadParameter."""
    from forebay.operations import LetterId

    try:
        return LetterId.parse(text, topic)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def chosen_or_all(everything: bool, *, chosen: bool, what: str = "ids, or a filter such as --reason") -> None:
    """Nothing is replayed or deleted without saying what. Raises typer.BadParameter."""
    if everything == chosen:
        raise typer.BadParameter(f"give {what}, or --all" + (", not both" if chosen else ""))
