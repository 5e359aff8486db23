"""Keys and tokens from the command line, and what the gateway makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forebay.cli.command import CommandFailed
from forebay.cli.token import token
from forebay.gateway.http.access import Access, KeySet, Unauthorised


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(token, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output.strip()


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_what_is_minted_opens_what_it_says(tmp_path: Path, algorithm: str) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(ran("new-key", "--algorithm", algorithm))
    minted = ran("mint", "--keys", str(keys), "--conversation", "c-1", "--conversation", "u-1.*", "--user", "u-1")
    caller = Access(KeySet(keys), [], []).caller(minted)
    assert (caller.user_id, caller.conversations, caller.admin) == ("u-1", ("c-1", "u-1.*"), False)
    admin = Access(KeySet(keys), [], []).caller(ran("mint", "--keys", str(keys), "--admin"))
    assert admin.admin
    assert not admin.may_open("c-1")


def test_a_new_key_beside_an_old_one_signs_and_both_are_valid(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(ran("new-key", "--kid", "a"))
    new.write_text(ran("new-key", "--kid", "b", "--beside", str(old)))
    access = Access(KeySet(new), [], [])
    for keys in (old, new):
        access.caller(ran("mint", "--keys", str(keys), "--conversation", "c"))
    with pytest.raises(Unauthorised, match="kid"):
        Access(KeySet(old), [], []).caller(ran("mint", "--keys", str(new), "--conversation", "c"))


def test_gateways_need_only_the_public_half(tmp_path: Path) -> None:
    private, public = tmp_path / "private.json", tmp_path / "public.json"
    private.write_text(ran("new-key", "--algorithm", "EdDSA", "--public", str(public)))
    assert all("d" not in key for key in json.loads(public.read_text())["keys"])
    Access(KeySet(public), [], []).caller(ran("mint", "--keys", str(private), "--conversation", "c"))
    with pytest.raises(CommandFailed, match="public half"):
        ran("mint", "--keys", str(public), "--conversation", "c")


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}', '{"keys": [7]}', "nonsense"])
def test_a_file_without_keys_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(CommandFailed, match=r"keys.json is no JSON Web Key Set"):
        ran("mint", "--keys", str(tmp_path / "keys.json"), "--conversation", "c")
    with pytest.raises(CommandFailed, match="new-key"):
        ran("mint", "--keys", str(tmp_path / "none.json"), "--conversation", "c")


def test_a_token_that_opens_nothing_is_not_minted(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(ran("new-key"))
    assert CliRunner().invoke(token, ["mint", "--keys", str(tmp_path / "keys.json")]).exit_code == 2
