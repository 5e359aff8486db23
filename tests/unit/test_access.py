"""Tokens and keys: what opens what, and what opens nothing."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from forebay.gateway.http.access import ANYBODY, Access, Caller, KeySet, Unauthorised
from forebay.gateway.settings import GatewaySettings
from forebay.schemas import SettingsError

SECRET = b"a secret of tests, of 32 bytes or more"
ED = Ed25519PrivateKey.generate()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


OCT = {"kty": "oct", "kid": "k1", "alg": "HS256", "k": b64(SECRET)}
OKP = {"kty": "OKP", "crv": "Ed25519", "kid": "k2", "alg": "EdDSA", "x": b64(ED.public_key().public_bytes_raw())}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [OCT, OKP]}))
    return file


@pytest.fixture
def access(keys: Path) -> Access:
    return Access(KeySet(keys), [("shop", "server-key"), ("shop", "next-key")], [("ops", "admin-key")])


def token(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = "k1", **claims: Any) -> str:
    told = {"sub": "u-1", "conversations": ["c-1", "u-1.*"], "exp": int(time.time()) + 3600, **claims}
    return jwt.encode(
        {k: v for k, v in told.items() if v is not None}, key, algorithm, headers={"kid": kid} if kid else {}
    )


@pytest.mark.parametrize("made", [token(), token(ED, "EdDSA", "k2")])
def test_a_token_opens_its_conversations_and_no_other(access: Access, made: str) -> None:
    caller = access.caller(made)
    assert caller.user_id == "u-1"
    opened = {name: caller.may_open(name) for name in ("c-1", "c-10", "c", "u-1.", "u-1.x", "u-1", "u-12.x", "*", "")}
    assert [name for name, may in opened.items() if may] == ["c-1", "u-1.", "u-1.x"]
    assert not caller.server
    assert not caller.admin


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (None, "no token"),
        ("", "no token"),
        ("nonsense", "not known"),
        ("a.b.c", "not valid"),
        (token(b"another secret that is long enough"), "not valid"),
        (token(exp=int(time.time()) - 60), "not valid"),
        (token(exp=None), "not valid"),
        (token(kid="k9"), "kid"),
        (token(kid=None), "kid"),
        (token(conversations=7), "conversations"),
        (token(conversations=[7]), "conversations"),
        (token(tenant=7), "tenant"),
        (token(ED, "EdDSA", "k1"), "not valid"),
        (token(kid="k2"), "not valid"),
        (jwt.encode({"exp": 9e9, "conversations": ["c-1"]}, "", "none", headers={"kid": "k1"}), "not valid"),
        (
            jwt.encode(
                {"exp": 9e9}, ED.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), "HS256", {"kid": "k2"}
            ),
            "not valid",
        ),
        (token()[:-2], "not valid"),
        ("server-key-and-more", "not known"),
    ],
)
def test_what_opens_nothing(access: Access, made: str | None, why: str) -> None:
    with pytest.raises(Unauthorised, match=why) as caught:
        access.caller(made)
    assert not made or made not in str(caught.value)


def test_a_token_that_was_checked_once_still_expires(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    made = token()
    access.caller(made)
    later = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Unauthorised, match="expired"):
        access.caller(made)


def test_keys_are_rotated_without_a_restart(keys: Path, access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    made = token()
    access.caller(made)
    keys.write_text(json.dumps({"keys": [OKP]}))
    os.utime(keys, (1, 1))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    with pytest.raises(Unauthorised, match="kid"):
        access.caller(made)
    keys.write_text("damaged")
    monkeypatch.setattr(time, "monotonic", lambda: now + 120)
    assert access.caller(token(ED, "EdDSA", "k2")).user_id == "u-1"


def test_api_keys_speak_for_anybody_and_admins_have_the_console(access: Access) -> None:
    assert access.caller("server-key") == access.caller("next-key") == Caller("shop", server=True)
    assert access.caller("admin-key") == Caller("ops", server=True, admin=True)
    assert access.caller(token(scope="read admin")).admin
    with pytest.raises(Unauthorised, match="address"):
        access.caller("server-key", by_url=True)
    assert access.caller(token(), by_url=True).user_id == "u-1"


def test_with_no_keys_everybody_is_anybody() -> None:
    assert Access(None, [], []).caller(None) == ANYBODY


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"keys": []}', '{"keys": [{"kty": "oct"}]}', '{"keys": 7}', '{"keys": [{"kty":"RSA"}]}']
)
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(ValueError, match="key"):
        KeySet(tmp_path / "keys.json")


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({}, "no keys"),
        ({"gateway_open": True, "gateway_host": "0.0.0.0"}, "loopback"),
        ({"gateway_open": True, "gateway_host": "example.org"}, "loopback"),
        ({"gateway_api_keys": "only-a-name"}, "name=key"),
        ({"gateway_open": True, "gateway_cors": "shop.example"}, "https://shop.example"),
        ({"gateway_open": True, "gateway_cors": "https://shop.example/"}, "no path"),
        ({"gateway_keys": "/nowhere"}, "no such file"),
    ],
)
def test_settings_that_would_open_too_much_are_refused(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(SettingsError, match=rule):
        GatewaySettings.read(**given)
    with pytest.raises(ValidationError):
        GatewaySettings(**given)
