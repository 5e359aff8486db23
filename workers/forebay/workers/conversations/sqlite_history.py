"""A conversation's history in the SQLite store: each function is a step in its caller's transaction."""

from __future__ import annotations

import sqlite3
import time
from typing import NamedTuple

from .exchange import Exchange
from .sqlite_erasure import erased_at
from .sqlite_words import Row, SQLiteWords
from .store import Participant

_MESSAGE = "message"
"""Outcome of a person's message. It is a row among the turns, in their order; its id is a BLOB, which no turn's id is."""


class HistoryRows(NamedTuple):
    """What the tables say of a page."""

    exchanges: list[Row]
    """Newest first: position, time, turn, said, answer, steps, person."""
    conversation: Row | None
    participants: list[Row]


def latest(database: sqlite3.Connection, conversation_id: str, exchanges: int) -> list[Row]:
    """The latest exchanges, newest first: turn, said, answer, steps, person."""
    return database.execute(
        "SELECT turn_id, said, answer, steps, person FROM turns WHERE conversation_id = ? AND answer IS NOT NULL"
        " ORDER BY position DESC LIMIT ?",
        (conversation_id, exchanges),
    ).fetchall()


def page(database: sqlite3.Connection, conversation_id: str, before: int | None, limit: int) -> HistoryRows:
    """See `Store.history`."""
    exchanges = database.execute(
        "SELECT position, at, turn_id, said, answer, steps, person FROM turns"
        " WHERE conversation_id = ? AND answer IS NOT NULL AND position < ? ORDER BY position DESC LIMIT ?",
        (conversation_id, 1 << 62 if before is None else before, limit + 1),
    ).fetchall()
    participants = database.execute(
        "SELECT user_id, tenant FROM participants WHERE conversation_id = ? ORDER BY at", (conversation_id,)
    ).fetchall()
    return HistoryRows(exchanges, conversation(database, conversation_id), participants)


def conversation(database: sqlite3.Connection, conversation_id: str) -> Row | None:
    """Number of exchanges, state, summary, exchanges summarised, hand-off, USD of the summaries, when it was erased."""
    row: Row | None = database.execute(
        "SELECT exchanges, state, summary, summarised, handed_off, summary_usd, erased_at FROM conversations"
        " WHERE conversation_id = ?",
        (conversation_id,),
    ).fetchone()
    return row


def remember_message(
    database: sqlite3.Connection,
    words: SQLiteWords,
    conversation_id: str,
    message_id: str,
    name: str,
    text: str,
    at: float,
) -> bool:
    """See `Store.remember_message`."""
    # A time to come would keep it from being forgotten.
    at = min(at, time.time())
    if at < (erased_at(database, conversation_id) or 0.0):
        return False
    key = message_id.encode()
    columns = words.exchange(conversation_id, key, Exchange("", text, (), name))
    stored = database.execute(
        "INSERT INTO turns (conversation_id, turn_id, said, steps, answer, person, outcome, reply, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, x'', ?) ON CONFLICT DO NOTHING",
        (conversation_id, key, *columns, _MESSAGE, at),
    )
    if not stored.rowcount:
        return False
    database.execute(
        "INSERT INTO conversations (conversation_id, exchanges, at) VALUES (?, 1, ?)"
        " ON CONFLICT DO UPDATE SET exchanges = exchanges + 1, at = MAX(at, excluded.at)",
        (conversation_id, int(at)),
    )
    return True


def take_part(database: sqlite3.Connection, conversation_id: str, who: Participant) -> None:
    """Notes who speaks in a conversation; the first time counts."""
    database.execute(
        "INSERT INTO participants VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (conversation_id, who.user_id or "", who.tenant or "", time.time()),
    )
