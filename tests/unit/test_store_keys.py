"""Keys of the store: what they seal only they open, where it was sealed, and nothing tells them."""

from __future__ import annotations

import base64
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas import SettingsError
from forebay.workers.conversations.store_keys import StoreKeyError, StoreKeys

SECRET = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
A, B = f"a:{SECRET[0]}", f"b:{SECRET[1]}"


@given(st.binary(max_size=200), st.lists(st.text(max_size=10).filter(str.isprintable), max_size=3))
def test_what_was_sealed_is_opened(value: bytes, row: list[str]) -> None:
    keys = StoreKeys(A)
    sealed = keys.seal(value, *row)
    assert keys.open(sealed, *row) == value
    assert keys.seal(value, *row) != sealed or not value
    assert len(value) < 8 or value not in sealed


def test_without_keys_values_stay_as_they_are() -> None:
    keys = StoreKeys("")
    assert (keys.seal(b"hello", "c"), keys.open(b"hello", "c"), bool(keys)) == (b"hello", b"hello", False)
    assert StoreKeys(A).open(b"hello", "c") == b"hello", "what was stored before there was a key"


def test_a_value_is_opened_only_where_it_was_sealed() -> None:
    keys = StoreKeys(A)
    sealed = keys.seal(b"hello", "c-1", "t-1", "reply")
    for row in (("c-1", "t-1", "exchange"), ("c-1", "t-2", "reply"), ("c-1t", "-1", "reply"), ("c-1", "t-1")):
        with pytest.raises(StoreKeyError, match="'a' cannot be opened"):
            keys.open(sealed, *row)
    for changed in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:20]):
        with pytest.raises(StoreKeyError, match="cannot be opened"):
            keys.open(changed, "c-1", "t-1", "reply")


def test_keys_are_changed_one_after_the_other() -> None:
    old, both, new = StoreKeys(A), StoreKeys(f"{B}, {A}"), StoreKeys(B)
    sealed = old.seal(b"hello", "c")
    assert both.open(sealed, "c") == b"hello"
    assert new.open(both.seal(b"hello", "c"), "c") == b"hello"
    with pytest.raises(StoreKeyError, match="FOREBAY_STORE_KEY lacks the key 'a'"):
        new.open(sealed, "c")
    with pytest.raises(StoreKeyError, match="lacks the key 'a'"):
        StoreKeys("").open(sealed, "c")
    with pytest.raises(StoreKeyError, match="another key of this id"):
        StoreKeys(f"a:{SECRET[2]}").open(sealed, "c")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SECRET[0], "the id of key 1 is not"),
        (f"a b:{SECRET[0]}", "the id of key 1 is not"),
        (f"{A},{SECRET[1]}", "the id of key 2 is not"),
        (f"{A},{A}", "two keys have the id a"),
        ("a:" + "secret", "the key a is no base64"),
        ("a:c2VjcmV0", "the key a has 6 bytes, not 32"),
        ("a:", "the key a has 0 bytes"),
    ],
)
def test_wrong_keys_are_refused_and_not_shown(text: str, why: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"FOREBAY_STORE_KEY=\(hidden\): {why}.*openssl rand -base64 32"
    ) as refused:
        StoreKeys(text)
    assert not any(secret in str(refused.value) for secret in (*SECRET, "secret", "c2VjcmV0"))
    assert refused.value.__cause__ is None


def test_keys_are_not_shown() -> None:
    assert repr(StoreKeys(f"{A},{B}")) == "StoreKeys(a, b)"


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(SettingsError, match=r"pip install 'forebay\[encryption\]'"):
        StoreKeys(A)
