"""The keys that customers' words are sealed with in a store (AES-256-GCM), and how they are changed."""

from __future__ import annotations

import base64
import binascii
import os
import re
from typing import TYPE_CHECKING, NoReturn

from forebay.schemas import SettingsError
from forebay.schemas.extras import needs

from .store import StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MARK = b"\0sealed:"
"""What no JSON and no text of a person begins with; the key's id, a colon, the nonce and the sealed value follow."""
_NONCE_BYTES = 12
_KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_RULE = "write it as id:key,id:key, each key 32 bytes as base64 (openssl rand -base64 32)"


class StoreKeyError(StoreError):
    """A value cannot be read with the keys that there are. The message names the key's id, and no secret."""


class StoreKeys:
    """The keys of FOREBAY_STORE_KEY: the first seals, and each opens what it sealed. Without keys values stay as they are."""

    def __init__(self, text: str = "") -> None:
        """``text`` is ``id:base64,id:base64``. Raises SettingsError, without the text."""
        self._keys: dict[bytes, AESGCM] = {}
        for number, part in enumerate(filter(None, text.split(",")), 1):
            key_id, _, secret = part.strip().partition(":")
            if not _KEY_ID.fullmatch(key_id):
                _refuse(f"the id of key {number} is not 1 to 32 letters, digits, dots, dashes or underscores")
            if key_id.encode() in self._keys:
                _refuse(f"two keys have the id {key_id}")
            self._keys[key_id.encode()] = _cipher(key_id, secret)
        self._first = next(iter(self._keys), b"")
        self._cipher = self._keys.get(self._first)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._cipher is not None

    def __repr__(self) -> str:
        """Ids only."""
        return f"StoreKeys({', '.join(key_id.decode() for key_id in self._keys)})"

    def seal(self, value: bytes, *row: str) -> bytes:
        """The value as the store holds it. Only the same ``row`` opens it: conversation, turn and column."""
        if self._cipher is None or not value:
            return value
        nonce = os.urandom(_NONCE_BYTES)
        return b"%b%b:%b%b" % (_MARK, self._first, nonce, self._cipher.encrypt(nonce, value, _associated(row)))

    def open(self, value: bytes, *row: str) -> bytes:
        """What `seal` was given; a value that is not sealed as it is. Raises StoreKeyError."""
        if not value.startswith(_MARK):
            return value
        key_id, _, sealed = value[len(_MARK) :].partition(b":")
        cipher = self._keys.get(key_id)
        shown = key_id.decode(errors="replace")[:32]
        if cipher is None:
            raise StoreKeyError(
                f"FOREBAY_STORE_KEY lacks the key {shown!r}, and the store has values sealed with it: add it"
            )
        from cryptography.exceptions import InvalidTag

        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _associated(row))
        except (InvalidTag, ValueError):
            raise StoreKeyError(
                f"a value sealed with the key {shown!r} cannot be opened: FOREBAY_STORE_KEY has another key of this id, or"
                " somebody changed or moved the value"
            ) from None


def _cipher(key_id: str, secret: str) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise SettingsError(needs("FOREBAY_STORE_KEY", "encryption")) from None
    try:
        key = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        _refuse(f"the key {key_id} is no base64")
    if len(key) != _KEY_BYTES:
        _refuse(f"the key {key_id} has {len(key)} bytes, not {_KEY_BYTES}")
    return AESGCM(key)


def _refuse(why: str) -> NoReturn:
    raise SettingsError(f"FOREBAY_STORE_KEY=(hidden): {why}; {_RULE}")


def _associated(row: tuple[str, ...]) -> bytes:
    """Each part with its length: no two rows are the same bytes."""
    parts = [part.encode() for part in row]
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])
