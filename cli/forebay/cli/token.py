"""``forebay token``: keys, and tokens for customers. A shop's backend mints its own; this is for trying and for keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from .command import CommandFailed

token = typer.Typer(help="Keys and tokens of the gateway.", no_args_is_help=True, rich_markup_mode=None)

Keys = Annotated[
    Path,
    typer.Option(envvar="FOREBAY_GATEWAY_KEYS", help="File with the JSON Web Key Set; the private keys in it sign."),
]


@token.command("new-key")
def new_key(
    algorithm: Annotated[
        Literal["HS256", "EdDSA"], typer.Option(help="EdDSA: gateways need only its public half.")
    ] = "HS256",
    kid: Annotated[str | None, typer.Option(help="The key's id; made up without it.")] = None,
    beside: Annotated[
        Path | None, typer.Option(help="A key set whose keys stay valid: the new key comes first, and signs.")
    ] = None,
    public: Annotated[
        Path | None, typer.Option(help="Also write the set without private keys here, for the gateways.")
    ] = None,
) -> None:
    """Prints a JSON Web Key Set with a new key. Keep it secret."""
    from forebay.operations import gateway_keys

    if public is not None and algorithm != "EdDSA":
        raise typer.BadParameter("--public: an HS256 key has no public half; use --algorithm EdDSA")
    key = gateway_keys.new_key(algorithm, kid)
    try:
        older = [] if beside is None else gateway_keys.read_keys(beside)
    except gateway_keys.KeySetError as error:
        raise CommandFailed(str(error)) from error
    if any(known.get("kid") == key["kid"] for known in older):
        raise typer.BadParameter(f"--kid {key['kid']!r} is in {beside} already")
    keys = [key, *older]
    if public is not None:
        public.write_bytes(gateway_keys.key_set([gateway_keys.public_half(known) for known in keys]))
    typer.echo(gateway_keys.key_set(keys).decode())


@token.command()
def mint(
    conversation: Annotated[
        list[str] | None, typer.Option(help="An id that it opens, or a prefix with * at its end. May be repeated.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Id of the user.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The user's tenant.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long it is valid.")] = 60.0,
    admin: Annotated[bool, typer.Option("--admin", help="Opens the console.")] = False,
    kid: Annotated[str | None, typer.Option(help="The key to sign with; the first of the set without it.")] = None,
    keys: Keys = Path("keys.json"),
) -> None:
    """Prints a token (JWT) for one customer."""
    from forebay.operations import gateway_keys

    if not conversation and not admin:
        raise typer.BadParameter("give --conversation, or --admin")
    try:
        known = gateway_keys.read_keys(keys)
    except gateway_keys.KeySetError as error:
        raise CommandFailed(str(error)) from error
    chosen = next((key for key in known if kid is None or key.get("kid") == kid), None)
    if chosen is None:
        raise typer.BadParameter(f"--kid {kid!r} is not in {keys}")
    try:
        minted = gateway_keys.mint(
            chosen,
            expires_at=time.time() + minutes * 60,
            conversations=conversation or (),
            user=user,
            tenant=tenant,
            admin=admin,
        )
    except gateway_keys.KeySetError as error:
        raise CommandFailed(f"{keys}: {error}") from error
    typer.echo(minted)
