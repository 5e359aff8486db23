"""The SQLite store: its file, and what it forgets."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from forebay.schemas import SettingsError
from forebay.workers.conversations import Participant, State, StoreError, open_store
from forebay.workers.conversations.sqlite import SQLiteStore
from tests.integration.test_store import entry


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
    assert (await store.record(entry("t", b"x")))[0].value == b"x"
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


_FIRST_VERSION = """
CREATE TABLE turns (position INTEGER PRIMARY KEY AUTOINCREMENT, conversation_id TEXT NOT NULL, turn_id TEXT NOT NULL,
    said TEXT, steps TEXT, answer TEXT, outcome TEXT NOT NULL, reply BLOB NOT NULL, at INTEGER NOT NULL,
    UNIQUE (conversation_id, turn_id));
CREATE TABLE conversations (conversation_id TEXT PRIMARY KEY, exchanges INTEGER NOT NULL DEFAULT 0, state BLOB,
    summary TEXT NOT NULL DEFAULT '', summarised INTEGER NOT NULL DEFAULT 0, handed_off TEXT,
    summary_usd REAL NOT NULL DEFAULT 0, at INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO turns VALUES (7, 'c', 't-1', 'hello', NULL, 'hi', 'answered', x'7b7d', 1700000000);
INSERT INTO conversations (conversation_id, exchanges, at) VALUES ('c', 1, 1700000000);
"""


async def test_a_file_of_the_first_version_is_read_and_written(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as database:
        database.executescript(_FIRST_VERSION)
    stores = [SQLiteStore(str(tmp_path / "old.db")) for _ in range(2)]
    await stores[0].remember_message("c", "m-1", "Anna", "Hello.", 1_700_000_001)
    await stores[1].record(entry("t-2")._replace(user_id="u-1"))
    page = await stores[0].history("c")
    assert [(one.turn_id, one.exchange.answer) for one in page.exchanges] == [
        ("t-1", "hi"),
        ("m-1", "Hello."),
        ("t-2", "answer t-2"),
    ]
    for store in stores:
        await store.close()


async def test_a_message_of_a_time_to_come_is_forgotten_like_others(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "conversations.db"))
    await store.remember_message("c", "m", "Anna", "Hello.", 1e12)
    (told,) = (await store.history("c")).exchanges
    assert told.at is not None
    assert told.at <= time.time()
    await store.close()


async def test_old_conversations_are_forgotten_with_who_spoke(tmp_path: Path) -> None:
    store = SQLiteStore(str(tmp_path / "conversations.db"))
    for name in ("old", "new"):
        await store.record(entry("t", conversation_id=name, outcome="failed")._replace(user_id="u-1"))
    store._database.execute("UPDATE conversations SET at = 0 WHERE conversation_id = 'old'")
    await store.forget_old()
    assert [(await store.history(name)).participants for name in ("old", "new")] == [(), (Participant("u-1", None),)]
    await store.close()


@pytest.mark.parametrize("url", ["", "sqlite://x", "mysql:///x", "mysql://me:secret@x", "sqlite:///", "sqlite"])
async def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"FOREBAY_STORE=.* write sqlite:///file.db") as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


async def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unable to open"):
        open_store(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    (tmp_path / "text.db").write_text("this is no database at all, not even a little one")
    with pytest.raises(SettingsError, match="not a database"):
        open_store(f"sqlite:///{tmp_path}/text.db")


_WRITER = """
import asyncio, sys
from forebay.workers.conversations import Entry, Exchange, State, StoredReply
from forebay.workers.conversations.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    for number in range(10**6):
        turns = [
            Entry(f"c-{at}", f"t-{number}", StoredReply("answered", b"{}"), Exchange("said", "answer"),
                  ("all",), 0.5, State(failures=number + 1))
            for at in range(20)
        ]
        await asyncio.gather(*(store.record(turn) for turn in turns))
        print(number, flush=True)

asyncio.run(main())
"""


async def test_a_worker_killed_in_the_middle_leaves_nothing_half_written(tmp_path: Path) -> None:
    for path in (tmp_path / f"killed-{number}.db" for number in range(3)):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(5):
            await asyncio.to_thread(writer.stdout.readline)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        with closing(sqlite3.connect(path)) as database:
            turns = dict(
                database.execute(
                    "SELECT conversation_id, COUNT(*) FROM turns WHERE answer IS NOT NULL GROUP BY 1"
                ).fetchall()
            )
            counted = dict(database.execute("SELECT conversation_id, exchanges FROM conversations").fetchall())
            states = dict(database.execute("SELECT conversation_id, state FROM conversations").fetchall())
            (spent,) = database.execute("SELECT TOTAL(usd) FROM spending").fetchone()
            latest = dict(
                database.execute(
                    "SELECT conversation_id, MAX(CAST(SUBSTR(turn_id, 3) AS INT)) FROM turns GROUP BY 1"
                ).fetchall()
            )
        assert len(turns) == 20
        assert counted == turns
        assert spent == 0.5 * sum(turns.values())
        for conversation_id, state in states.items():
            assert State.decode(state).failures == latest[conversation_id] + 1
