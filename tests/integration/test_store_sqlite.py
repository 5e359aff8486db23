"""The SQLite store: its file, and what it forgets."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from schemas import SettingsError
from tests.integration.test_store import entry
from workers.conversations import StoreError, open_store
from workers.conversations.sqlite import SQLiteStore


async def test_a_store_that_is_locked_says_so_and_recovers(tmp_path: Path) -> None:
    path = str(tmp_path / "locked.db")
    store = SQLiteStore(path)
    store._database.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await store.record(entry("t"))
    other.rollback()
    other.close()
    assert (await store.record(entry("t", b"x"))).value == b"x"
    await store.close()


async def test_old_turns_are_forgotten(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "conversations.db"))
    await store.record(entry("old"))
    await store.record(entry("new"))
    store._database.execute("UPDATE turns SET at = 0 WHERE turn_id = 'old'")
    assert await store.forget_old() == 1
    assert (await store.load("c", "old", 5)).reply is None
    assert len((await store.load("c", "x", 5)).history) == 1
    await store.close()


@pytest.mark.parametrize("url", ["", "sqlite://x", "mysql:///x", "mysql://me:secret@x", "sqlite:///", "sqlite"])
async def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"SPILLWAY_STORE=.* write sqlite:///file.db") as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


async def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unable to open"):
        open_store(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    (tmp_path / "text.db").write_text("this is no database at all, not even a little one")
    with pytest.raises(SettingsError, match="not a database"):
        open_store(f"sqlite:///{tmp_path}/text.db")
