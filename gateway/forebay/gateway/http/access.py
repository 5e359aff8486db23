"""Access: who calls, and which conversations they may open. Customers bring tokens, servers and operators API keys."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jwt
import structlog
from cachetools import FIFOCache

log = structlog.get_logger()

ALGORITHMS = ("EdDSA", "HS256")
_LEAST_SECRET = 32
"""Bytes of an HS256 secret (RFC 7518, 3.2)."""
_LEEWAY_S = 10
"""How much the clocks of the shop's backend and of the gateway may differ, in seconds."""
_REMEMBERED = 20_000
"""Checked tokens that are kept, so that a signature is not checked again for every turn."""
_LOOK_S = 5.0
"""Seconds between two checks whether the file of keys has changed."""


Pairs = Sequence[tuple[str, str]]
"""(name, key) of servers."""


class Unauthorised(Exception):
    """The caller is not known; the message says why, without the token or key that was given."""


class Caller(NamedTuple):
    """Who calls."""

    name: str
    """The user, or the name of the API key; for limits and the audit."""
    user_id: str | None = None
    tenant: str | None = None
    conversations: tuple[str, ...] = ()
    """Ids that the caller may open; ``*`` at the end makes a prefix of it."""
    server: bool = False
    """Whether it has an API key, and may speak for any user."""
    admin: bool = False
    expires_at: float = float("inf")
    """Seconds since the epoch."""

    def may_open(self, conversation: str) -> bool:
        """Whether the caller may open this conversation."""
        return self.server or any(
            conversation.startswith(allowed[:-1]) if allowed.endswith("*") else conversation == allowed
            for allowed in self.conversations
        )


ANYBODY = Caller("anybody", server=True, admin=True)
"""The caller of an open gateway."""


class KeySet:
    """A JSON Web Key Set in a file. It is read again when the file changes: keys can be rotated without a restart."""

    def __init__(self, file: Path) -> None:
        """Raises ValueError when it holds no key that can be used."""
        self._file = file
        self._looked_at = 0.0
        self._changed_at = 0.0
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._load()

    def version(self, now: float) -> float:
        """Changes with the keys; the file is looked at every few seconds. ``now`` in seconds of any steady clock."""
        if now - self._looked_at > _LOOK_S:
            self._looked_at = now
            try:
                if self._file.stat().st_mtime != self._changed_at:
                    self._load()
            except (OSError, ValueError) as error:
                log.error(
                    "keys.unreadable", file=str(self._file), error=str(error), fix="the keys from before are used"
                )
        return self._changed_at

    def find(self, kid: str | None) -> jwt.PyJWK | None:
        """The key of this id; without an id the only one there is."""
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _load(self) -> None:
        changed_at = self._file.stat().st_mtime
        try:
            found = jwt.PyJWKSet.from_json(self._file.read_text()).keys
        except (jwt.PyJWTError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self._file} is no JSON Web Key Set with a key that can be used: {error}") from None
        usable = {key.key_id: key for key in found if key.algorithm_name in ALGORITHMS}
        for key in usable.values():
            if key.algorithm_name == "HS256" and len(key.key) < _LEAST_SECRET:
                raise ValueError(
                    f"{self._file}: the secret of {key.key_id!r} is short: {_LEAST_SECRET} bytes at least (RFC 7518)"
                )
        if not usable:
            raise ValueError(f"{self._file} has no key for {' or '.join(ALGORITHMS)}")
        self._keys, self._changed_at = usable, changed_at


class Access:
    """Finds the caller for a token or an API key."""

    def __init__(
        self,
        keys: KeySet | None,
        api_keys: Pairs,
        admin_keys: Pairs,
        anybody: Caller = ANYBODY,
    ) -> None:
        """Names may repeat among the keys. Without any keys the gateway is open: everybody is ``anybody``."""
        self._open = keys is None and not api_keys and not admin_keys
        self._anybody = anybody
        self._keys = keys
        # Only digests are kept, and compared in constant time.
        self._servers = [
            (_digest(key), Caller(name, server=True, admin=admin))
            for named, admin in ((api_keys, False), (admin_keys, True))
            for name, key in named
        ]
        self._known: FIFOCache[tuple[str, float], Caller] = FIFOCache(_REMEMBERED)

    def caller(self, brought: str | None, *, by_url: bool = False) -> Caller:
        """The caller with this token or key; ``by_url``: it stood in the address, where API keys do not belong.

        Raises Unauthorised.
        """
        if self._open:
            return self._anybody
        if not brought:
            raise Unauthorised("no token: send Authorization: Bearer ...")
        if brought.count(".") != 2:
            return self._server(brought, by_url)
        if self._keys is None:
            raise Unauthorised("this gateway takes no tokens: FOREBAY_GATEWAY_KEYS is not set")
        known = brought, self._keys.version(time.monotonic())
        caller = self._known.get(known)
        if caller is None:
            caller = self._known[known] = self._customer(self._keys, brought)
        if caller.expires_at + _LEEWAY_S < time.time():
            raise Unauthorised("the token has expired")
        return caller

    def _server(self, brought: str, by_url: bool) -> Caller:
        digest = _digest(brought)
        found = [caller for known, caller in self._servers if hmac.compare_digest(known, digest)]
        if not found:
            raise Unauthorised("this key is not known here")
        if by_url:
            raise Unauthorised(
                "an API key does not belong in an address, which is logged on its way: send it as a header"
            )
        return found[0]

    def _customer(self, keys: KeySet, token: str) -> Caller:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = keys.find(kid)
            if key is None:
                raise Unauthorised("the token's key (kid) is not known here")
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],  # never what the token itself says
                leeway=_LEEWAY_S,
                options={"require": ["exp"], "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthorised(f"the token is not valid: {error}") from None
        return _caller(claims)


def _caller(claims: Mapping[str, object]) -> Caller:
    conversations, tenant, user = claims.get("conversations", ()), claims.get("tenant"), claims.get("sub")
    if isinstance(conversations, str):
        conversations = [conversations]
    if not isinstance(conversations, list | tuple) or not all(isinstance(entry, str) for entry in conversations):
        raise Unauthorised("the token's conversations are no list of ids")
    if tenant is not None and not isinstance(tenant, str):
        raise Unauthorised("the token's tenant is no text")
    scopes = claims.get("scope", "")
    expires_at = claims["exp"]
    assert isinstance(expires_at, int | float)
    return Caller(
        name=str(user) if user else f"token for {','.join(conversations)[:64]}",
        user_id=str(user) if user else None,
        tenant=tenant,
        conversations=tuple(conversations),
        admin=isinstance(scopes, str) and "admin" in scopes.split(),
        expires_at=float(expires_at),
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
