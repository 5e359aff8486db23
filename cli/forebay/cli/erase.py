"""``forebay erase``: forgets conversations, or all of a user's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from .command import CommandFailed, Json, print_json, run

if TYPE_CHECKING:
    from forebay.operations.erasure import Receipt


def erase(
    conversation: Annotated[
        list[str] | None, typer.Option("--conversation", help="Id of a conversation; may be repeated.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="All conversations in which this user spoke.")] = None,
    tenant: Annotated[str | None, typer.Option(help="With --user: only of this tenant.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Erases conversations from the store and at providers; says until when topics hold their records. Exit 1: not all."""
    if bool(conversation) == bool(user):
        raise typer.BadParameter("name conversations with --conversation, or a user with --user")
    if tenant is not None and not user:
        raise typer.BadParameter("--tenant goes with --user")
    if not (yes or dry_run or sys.stdin.isatty()):
        typer.echo("forebay: there is no terminal to ask on: look with --dry-run, then give --yes", err=True)
        raise typer.Exit(2)
    if dry_run or yes:
        receipt = _receipt(conversation, user, tenant, dry_run=dry_run)
    else:
        found = _receipt(conversation, user, tenant, dry_run=True)
        _show(found)
        if not found.erased:
            return
        if not typer.confirm(f"Erase {len(found.erased):,} conversations for good?", err=True):
            typer.echo("nothing was done", err=True)
            raise typer.Exit(1)
        receipt = _receipt(list(found.erased), None, None, dry_run=False)
    if json:
        print_json(receipt.shown())
    else:
        _show(receipt)
    if not receipt.complete:
        raise typer.Exit(1)


def _receipt(conversations: list[str] | None, user: str | None, tenant: str | None, *, dry_run: bool) -> Receipt:
    from forebay.operations.erasure import erase as forget
    from forebay.operations.existing_store import check_ids, open_existing
    from forebay.schemas import Cluster
    from forebay.workers.conversations import StoreError
    from forebay.workers.store_settings import StoreSettings

    cluster, settings = Cluster.read(), StoreSettings.read()

    async def work() -> Receipt:
        store = open_existing(settings)
        try:
            names = conversations or list(await store.conversations_of(user or "", tenant))
            return await forget(store, cluster, names, issued_by="forebay erase", dry_run=dry_run)
        finally:
            await store.close()

    try:
        check_ids([*(conversations or ()), user or "", tenant or ""])
        receipt: Receipt = run(work())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except FileNotFoundError as error:
        raise CommandFailed(str(error)) from None
    except StoreError as error:
        raise CommandFailed(f"the store: {' '.join(str(error).split())}") from error
    return receipt


def _show(receipt: Receipt) -> None:
    word = "would be removed" if receipt.dry_run else "removed"
    for name, erased in receipt.erased.items():
        counts = [f"{count:,} {what.replace('_', ' ')}" for what, count in erased.removed.items() if count]
        typer.echo(f"{name}: {word} from the store: {', '.join(counts) or 'nothing was there'}")
    if not receipt.erased:
        typer.echo("the store has no conversation of this user")
    for session, why in receipt.sessions.items():
        state = "would be deleted" if receipt.dry_run else "deleted"
        typer.echo(f"provider session {session}: {f'NOT deleted: {why}' if why else state}")
    for hold in receipt.topics:
        until = (
            "for ever (by its settings)"
            if hold.until is None
            else f"until {hold.until:%Y-%m-%d %H:%M} UTC at the latest"
        )
        typer.echo(f"{hold.topic}: holds {hold.about} {until}")
    for problem in receipt.problems:
        typer.echo(f"NOT done: {problem}", err=True)
