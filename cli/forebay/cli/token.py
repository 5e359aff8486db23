"""``forebay token``: keys, and tokens for customers. A shop's backend mints its own; this is for trying and for keys."""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer

from forebay.schemas.extras import needs

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
    key = {"kid": kid or time.strftime("%Y-%m-%d-") + secrets.token_hex(2), "use": "sig", "alg": algorithm}
    key |= _ed25519() if algorithm == "EdDSA" else {"kty": "oct", "k": _base64(secrets.token_bytes(32))}
    keys = [key, *(_read(beside) if beside is not None else [])]
    if any(known["kid"] == key["kid"] for known in keys[1:] if "kid" in known):
        raise typer.BadParameter(f"--kid {key['kid']!r} is in {beside} already")
    if public is not None:
        if algorithm != "EdDSA":
            raise typer.BadParameter("--public: an HS256 key has no public half; use --algorithm EdDSA")
        public.write_bytes(_dump([{name: value for name, value in known.items() if name != "d"} for known in keys]))
    typer.echo(_dump(keys).decode())


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
    import jwt

    if not conversation and not admin:
        raise typer.BadParameter("give --conversation, or --admin")
    known = _read(keys)
    chosen = next((key for key in known if kid is None or key.get("kid") == kid), None)
    if chosen is None:
        raise typer.BadParameter(f"--kid {kid!r} is not in {keys}")
    claims = {
        "conversations": conversation or [],
        "exp": int(time.time() + minutes * 60),
        **({"sub": user} if user else {}),
        **({"tenant": tenant} if tenant else {}),
        **({"scope": "admin"} if admin else {}),
    }
    try:
        signing = jwt.PyJWK(chosen)
        algorithm = signing.algorithm_name
        typer.echo(jwt.encode(claims, signing, algorithm=algorithm, headers={"kid": chosen.get("kid")}))
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:  # a public key has no `sign`
        raise CommandFailed(f"{keys}: this key cannot sign ({error}): is it the public half?") from error


def _ed25519() -> dict[str, str]:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        from forebay.schemas import SettingsError

        raise SettingsError(needs("EdDSA", "eddsa")) from error
    key = Ed25519PrivateKey.generate()
    public, private = key.public_key().public_bytes_raw(), key.private_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64(public), "d": _base64(private)}


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        keys = orjson.loads(file.read_bytes())["keys"]
    except FileNotFoundError:
        raise CommandFailed(f"{file}: no such file: make one with `forebay token new-key > {file}`") from None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise CommandFailed(f"{file} is no JSON Web Key Set: {error}") from error
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise CommandFailed(f"{file} is no JSON Web Key Set with a key")
    return keys


def _dump(keys: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"keys": keys}, option=orjson.OPT_INDENT_2)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
