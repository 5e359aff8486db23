"""Webhooks: their destinations' file, signatures, what an answer means, and which addresses are out of reach."""

from __future__ import annotations

import base64
import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from forebay.schemas import Reply, SettingsError, encode
from forebay.workers.models import Trouble
from forebay.workers.webhooks.addresses import PrivateAddressError, inward, public_socket
from forebay.workers.webhooks.attempt import answered, retry_after_s
from forebay.workers.webhooks.destinations import OUTCOMES, read_destinations
from forebay.workers.webhooks.webhook import body_of, signed_headers

NOW = datetime(2026, 11, 11, tzinfo=UTC)
KEYS = st.binary(min_size=24, max_size=64)
SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()


def reply_of(text: str = "Yes.", reply_id: str = "r-1") -> Reply:
    return Reply(turn_id="t-1", conversation_id="c-1", reply_id=reply_id, outcome="answered", text=text, created_at=NOW)


@given(
    text=st.text(st.characters(codec="utf-8")),
    keys=st.lists(KEYS, min_size=1, max_size=4, unique=True),
    at=st.integers(-250, 250),
)
def test_each_secret_verifies_what_all_have_signed(text: str, keys: list[bytes], at: int) -> None:
    body = body_of(reply_of(text))
    secrets = [SecretStr("whsec_" + base64.b64encode(key).decode()) for key in keys]
    headers = signed_headers("r-1", body, secrets, datetime.now(UTC) + timedelta(seconds=at))
    assert headers["webhook-id"] == "r-1"
    for key in keys:
        assert Webhook(key).verify(body, headers)["data"]["text"] == text
    with pytest.raises(WebhookVerificationError):
        Webhook(keys[0] + b"x").verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(keys[0]).verify(body + b" ", headers)


def test_an_attempt_is_signed_by_its_own_time_whatever_the_zone() -> None:
    body = body_of(reply_of())
    here = signed_headers("r-1", body, [SecretStr(SECRET)], NOW)
    assert here == signed_headers("r-1", body, [SecretStr(SECRET)], NOW.astimezone())
    later = signed_headers("r-1", body, [SecretStr(SECRET)], NOW + timedelta(seconds=1))
    assert (here["webhook-id"], int(here["webhook-timestamp"]) + 1) == (
        later["webhook-id"],
        int(later["webhook-timestamp"]),
    )
    assert here["webhook-signature"] != later["webhook-signature"]


def test_the_body_is_the_reply() -> None:
    reply = reply_of("über")
    assert orjson.loads(body_of(reply)) == {
        "type": "reply",
        "timestamp": "2026-11-11T00:00:00Z",
        "data": json.loads(encode(reply)),
    }


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        (200, None),
        (204, None),
        (301, Trouble.REJECTED),
        (400, Trouble.REJECTED),
        (401, Trouble.REJECTED),
        (404, Trouble.REJECTED),
        (408, Trouble.TIMEOUT),
        (410, Trouble.REJECTED),
        (425, Trouble.SERVER),
        (429, Trouble.RATE_LIMITED),
        (500, Trouble.SERVER),
        (503, Trouble.OVERLOADED),
        (504, Trouble.SERVER),
    ],
)
def test_what_an_answer_means(status: int, trouble: Trouble | None) -> None:
    assert answered(status, None, NOW).trouble is trouble


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("-7", None),
        ("soon", None),
        ("", None),
        ("Wed, 11 Nov 2026 00:01:00 GMT", 60.0),
        ("Tue, 10 Nov 2026 00:01:00 GMT", 0.0),
        ("9" * 400, None),
    ],
)
def test_retry_after(written: str | None, seconds: float | None) -> None:
    assert retry_after_s(written, NOW) == seconds
    assert answered(429, written, NOW).retry_after_s == seconds


INWARD = (
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1%eth0",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
)


@pytest.mark.parametrize("host", INWARD)
def test_addresses_of_our_own_networks_are_out_of_reach(host: str) -> None:
    assert inward(host)
    with pytest.raises(PrivateAddressError):
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 443)))


@pytest.mark.parametrize("host", ["93.184.215.14", "2606:4700::6810:84e5", "shop.example"])
def test_others_are_in_reach(host: str) -> None:
    assert inward(host) is None


def test_a_file_names_who_gets_what(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.toml"
    file.write_text(
        f"""
[default]
url = "https://shop.example/all"
secret = "{SECRET}"
[tenants.shop-eu]
url = "https://eu.shop.example/replies?key=1"
secret = ["{OTHER}", "{SECRET}"]
secret_env = "EU_SECRET"
events = ["answered", "handed_off"]
[tenants.inside]
url = "http://10.1.2.3:8080/"
secret_env = ["EU_SECRET"]
allow_http = true
allow_private = true
""",
        encoding="utf-8",
    )
    found = dict(read_destinations(file, {"EU_SECRET": OTHER}).named())
    assert set(found) == {None, "shop-eu", "inside"}
    assert found[None].events == OUTCOMES
    assert [secret.get_secret_value() for secret in found["shop-eu"].secret] == [OTHER, SECRET, OTHER]
    assert found["shop-eu"].events == ("answered", "handed_off")
    assert found["shop-eu"].host == "eu.shop.example"
    assert [secret.get_secret_value() for secret in found["inside"].secret] == [OTHER]
    assert "whsec" not in repr(found)


GOOD = f'url = "https://shop.example"\nsecret = "{SECRET}"\n'


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("[default", "cannot be read"),
        ("", "names no destination"),
        ("[tenants]", "names no destination"),
        ("[default]\n" + GOOD + 'other = "x"', "default.other: "),
        ("[defaults]\n" + GOOD, "defaults: "),
        ("[tenants.shop-eu]\n" + GOOD + 'events = ["answerd"]', "tenants.shop-eu.events.0: "),
        ("[tenants.shop-eu]\n" + GOOD + "events = []", "tenants.shop-eu.events: "),
        ('[default]\nurl = "https://shop.example"', "default: give 1 to 4 secrets"),
        (f'[default]\nsecret = "{SECRET}"', "default.url: "),
        ('[default]\nurl = "https://shop.example"\nsecret = "hunter2"', "default.secret: a secret is whsec_"),
        (
            '[default]\nurl = "https://shop.example"\nsecret = "whsec_aHVudGVyMg=="',
            "default.secret: a secret is whsec_",
        ),
        (
            '[default]\nurl = "https://shop.example"\nsecret_env = "NOT_THERE"',
            "default.secret_env: NOT_THERE is not set",
        ),
        ('[default]\nurl = "https://shop.example"\nsecret_env = "BAD"', "default.secret_env: BAD: a secret is whsec_"),
        (f'[default]\nurl = "http://shop.example"\nsecret = "{SECRET}"', "default: url must be https"),
        (f'[default]\nurl = "ftp://shop.example"\nsecret = "{SECRET}"', "default: url must be such as"),
        (f'[default]\nurl = "https://"\nsecret = "{SECRET}"', "default: url must be such as"),
        (f'[default]\nurl = "https://[::1"\nsecret = "{SECRET}"', "default: url is no URL"),
        (f'[default]\nurl = "https://a:hunter2@shop.example"\nsecret = "{SECRET}"', "default: url must have no user"),
        (f'[default]\nurl = "https://127.0.0.1"\nsecret = "{SECRET}"', "default: url is the address 127.0.0.1"),
        (f'[default]\nurl = "https://localhost"\nsecret = "{SECRET}"', "default: url is localhost"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_tells_no_secret(tmp_path: Path, written: str, says: str) -> None:
    file = tmp_path / "webhooks.toml"
    file.write_text(written, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        read_destinations(file, {"BAD": "hunter2"})
    line = str(refused.value)
    assert line.startswith(f"FOREBAY_WEBHOOKS={file}: ")
    assert says in line
    assert "\n" not in line
    assert "hunter2" not in line
    assert SECRET not in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: cannot be read: No such file"):
        read_destinations(tmp_path / "none.toml", {})
