"""What people write after ``forebay dlq``, and what it means."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

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
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count, by reason.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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


def moment_of(option: str, text: str | None) -> datetime | None:
    """The time that an option gives. Raises typer.BadParameter."""
    try:
        return None if text is None else moment(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{option} {text!r}: write a time such as 2026-11-11T00:00Z, or how long ago: 90s, 15m, 2h, 3d"
        ) from None


def moment(text: str, now: datetime) -> datetime:
    """A time as people write it: ISO 8601, in UTC unless it says otherwise, or so long before now. Raises ValueError."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    written = datetime.fromisoformat(text)
    return written if written.tzinfo is not None else written.replace(tzinfo=UTC)


def chosen_or_all(everything: bool, *, chosen: bool, what: str = "ids, or a filter such as --reason") -> None:
    """Nothing is replayed or deleted without saying what. Raises typer.BadParameter."""
    if everything == chosen:
        raise typer.BadParameter(f"give {what}, or --all" + (", not both" if chosen else ""))
