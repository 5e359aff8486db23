"""The file of the SQLite store: its tables, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress

import structlog

log = structlog.get_logger()

_TABLES = """
CREATE TABLE IF NOT EXISTS turns (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    said TEXT,
    steps TEXT,
    answer TEXT,
    outcome TEXT NOT NULL,
    reply BLOB NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (conversation_id, turn_id)
);
CREATE INDEX IF NOT EXISTS turns_in_order ON turns (conversation_id, position);
CREATE INDEX IF NOT EXISTS turns_by_age ON turns (at);
CREATE TABLE IF NOT EXISTS conversations (
    conversation_id TEXT PRIMARY KEY,
    exchanges INTEGER NOT NULL DEFAULT 0,
    state BLOB,
    summary TEXT NOT NULL DEFAULT '',
    summarised INTEGER NOT NULL DEFAULT 0,
    handed_off TEXT,
    summary_usd REAL NOT NULL DEFAULT 0,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS conversations_by_age ON conversations (at);
CREATE TABLE IF NOT EXISTS claims (
    conversation_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (conversation_id, turn_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spending (
    scope TEXT NOT NULL,
    hour INTEGER NOT NULL,
    usd REAL NOT NULL,
    PRIMARY KEY (scope, hour)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS participants (
    conversation_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (conversation_id, user_id, tenant)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS participants_by_user ON participants (user_id)
"""
_LATER_COLUMNS = (("turns", "person", "TEXT"), ("conversations", "erased_at", "REAL"))
"""What the first version's tables lack."""
_VERSION = 1


def open_file(path: str, busy_s: float) -> sqlite3.Connection:
    """``busy_s`` is how long it waits for another worker's transaction, in seconds. Raises sqlite3.Error."""
    _keep_private(path)
    database = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        # A crash of the process loses nothing; a crash of the machine may lose the last transactions, and those turns
        # are then answered again unless their offsets were committed.
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA wal_autocheckpoint=0")  # `SQLiteStore._checkpoint` does it, out of the turns' way
        if _version(database) < _VERSION:
            _migrate(database)
        database.execute(f"PRAGMA busy_timeout={int(busy_s * 1000)}")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _keep_private(path: str) -> None:
    """Only this user may read the file; SQLite gives its ``-wal`` and ``-shm`` the same mode."""
    try:
        # Only a file that is not there yet: closing one that this process has open elsewhere would end SQLite's locks on it
        # (https://www.sqlite.org/howtocorrupt.html, 2.2), and two workers would write at once.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return  # SQLite says why it cannot be opened
    for file in (path, f"{path}-wal", f"{path}-shm"):
        try:
            if stat.S_IMODE(os.stat(file).st_mode) & 0o077:  # noqa: PTH116
                os.chmod(file, 0o600)  # noqa: PTH101
        except FileNotFoundError:
            continue
        except PermissionError:
            log.warning("store.readable_by_others", file=file, fix=f"it belongs to another user: chmod 600 {file}")


def _migrate(database: sqlite3.Connection) -> None:
    """Makes the tables, or adds what a file of an earlier version lacks; workers of that version can go on using it."""
    database.execute("BEGIN IMMEDIATE")
    if _version(database) < _VERSION:  # nobody else did it meanwhile
        for statement in _TABLES.split(";"):
            database.execute(statement)
        for table, column, kind in _LATER_COLUMNS:
            if column not in {row[1] for row in database.execute(f"PRAGMA table_info({table})")}:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        database.execute(f"PRAGMA user_version={_VERSION}")
    database.execute("COMMIT")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])
