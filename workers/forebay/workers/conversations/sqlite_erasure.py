"""Erasing a conversation from the SQLite store, and the traces that a database leaves in its file."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from .sqlite_words import SQLiteWords
from .store import Erased

_WAIT_S = 30.0
"""How long the file's rewriting waits for other workers, in seconds."""


def erase(database: sqlite3.Connection, words: SQLiteWords, conversation_id: str, dry_run: bool) -> Erased:
    """See `Store.erase`."""
    named = (conversation_id,)
    replies, exchanges, messages = database.execute(
        "SELECT COUNT(*) FILTER (WHERE person IS NULL), COUNT(answer), COUNT(person) FROM turns WHERE conversation_id = ?",
        named,
    ).fetchone()
    (claims,) = database.execute("SELECT COUNT(*) FROM claims WHERE conversation_id = ?", named).fetchone()
    (participants,) = database.execute("SELECT COUNT(*) FROM participants WHERE conversation_id = ?", named).fetchone()
    row = database.execute("SELECT state, summary FROM conversations WHERE conversation_id = ?", named).fetchone()
    encoded, summary = row or (None, "")
    now = time.time()
    if not dry_run:
        database.execute("DELETE FROM turns WHERE conversation_id = ?", named)
        database.execute("DELETE FROM claims WHERE conversation_id = ?", named)
        database.execute("DELETE FROM participants WHERE conversation_id = ?", named)
        database.execute("DELETE FROM conversations WHERE conversation_id = ?", named)
        database.execute(
            "INSERT INTO conversations (conversation_id, at, erased_at) VALUES (?, ?, ?)", (*named, int(now), now)
        )
    return Erased.of(
        lambda: words.state_of(conversation_id, encoded),
        None if dry_run else now,
        replies=replies,
        exchanges=exchanges - messages,
        messages=messages,
        summaries=int(bool(summary)),
        claims=claims,
        participants=participants,
    )


def conversations_of(database: sqlite3.Connection, user_id: str, tenant: str | None) -> tuple[str, ...]:
    """See `Store.conversations_of`."""
    rows = database.execute(
        "SELECT DISTINCT conversation_id FROM participants WHERE user_id = ?1 AND user_id != ''"
        " AND (?2 IS NULL OR tenant = ?2) ORDER BY conversation_id",
        (user_id, tenant),
    ).fetchall()
    return tuple(conversation_id for (conversation_id,) in rows)


def erased_at(database: sqlite3.Connection, conversation_id: str) -> float | None:
    """When the conversation was erased, in seconds since the epoch; None when it was not."""
    row = database.execute(
        "SELECT erased_at FROM conversations WHERE conversation_id = ?", (conversation_id,)
    ).fetchone()
    return None if row is None else row[0]


def scrub(path: str) -> str | None:
    """See `Store.scrub`. SQLite leaves what it deleted in the file's free space and in the write-ahead log, until both are
    written anew. Other workers wait while it does: about a second for 300 MB.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=_WAIT_S)) as database:
            database.execute("VACUUM")
            until = time.monotonic() + _WAIT_S
            while database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > until:
                    return (
                        "the write-ahead log could not be emptied: another process reads it; stop it, and erase again"
                    )
                time.sleep(0.05)
    except sqlite3.Error as error:
        return f"the file could not be written anew, and its free space may still hold the words: {error}"
    return None
