"""Keys of the gateway, and tokens (JWT) that they sign."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from forebay.schemas import SettingsError
from forebay.schemas.extras import needs

Key = Mapping[str, Any]
"""A JSON Web Key."""


class KeySetError(Exception):
    """A file is no JSON Web Key Set, or its key cannot sign; the message says which and why."""


def new_key(algorithm: Literal["HS256", "EdDSA"], kid: str | None = None) -> Key:
    """A key that signs; its id is made up without ``kid``. Raises SettingsError where EdDSA is not installed."""
    material = _ed25519() if algorithm == "EdDSA" else {"kty": "oct", "k": _base64(secrets.token_bytes(32))}
    made_up = time.strftime("%Y-%m-%d-") + secrets.token_hex(2)
    return {"kid": kid or made_up, "use": "sig", "alg": algorithm, **material}


def public_half(key: Key) -> Key:
    """The same Ed25519 key, without what signs."""
    return {name: value for name, value in key.items() if name != "d"}


def read_keys(file: Path) -> list[Key]:
    """The keys of a JSON Web Key Set, one at least. Raises KeySetError."""
    try:
        keys = orjson.loads(file.read_bytes())["keys"]
    except FileNotFoundError:
        raise KeySetError(f"{file}: no such file: make one with `forebay token new-key > {file}`") from None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise KeySetError(f"{file} is no JSON Web Key Set: {error}") from error
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise KeySetError(f"{file} is no JSON Web Key Set with a key")
    return keys


def key_set(keys: Sequence[Key]) -> bytes:
    """Keys as a JSON Web Key Set."""
    return orjson.dumps({"keys": list(keys)}, option=orjson.OPT_INDENT_2)


def mint(
    key: Key,
    *,
    expires_at: float,
    conversations: Sequence[str] = (),
    user: str | None = None,
    tenant: str | None = None,
    admin: bool = False,
) -> str:
    """A token; ``expires_at`` in seconds since the epoch. Raises KeySetError for a key that cannot sign."""
    import jwt

    claims = {
        "conversations": list(conversations),
        "exp": int(expires_at),
        **({"sub": user} if user else {}),
        **({"tenant": tenant} if tenant else {}),
        **({"scope": "admin"} if admin else {}),
    }
    try:
        signing = jwt.PyJWK(dict(key))
        return jwt.encode(claims, signing, algorithm=signing.algorithm_name, headers={"kid": key.get("kid")})
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:  # a public key has no `sign`
        raise KeySetError(f"this key cannot sign ({error}): is it the public half?") from error


def _ed25519() -> dict[str, str]:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise SettingsError(needs("EdDSA", "eddsa")) from error
    key = Ed25519PrivateKey.generate()
    public, private = key.public_key().public_bytes_raw(), key.private_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64(public), "d": _base64(private)}


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
