"""The tables of the SQLite store and the statements on them: each function is a step in its caller's transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from forebay.workers.spent import HOUR_S, Spent

from .exchange import Exchange, decode_steps, encode_steps
from .state import CLAIM_S, Claim, Conversation, State
from .store import Entry, Loaded, StoredReply

KEEP_S = 30 * 86_400
"""Turns older than this are forgotten: as long as their dead letters can be replayed."""

SCHEMA = """
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
"""


def load(
    database: sqlite3.Connection,
    conversation_id: str,
    turn_id: str,
    exchanges: int,
    scopes: Sequence[str],
    owner: str | None,
) -> Loaded:
    """See `Store.load`."""
    reply, claimed_s = _reply(database, conversation_id, turn_id), 0.0
    if owner is not None and not (reply and reply.final):
        claimed_s = _claim(database, Claim(conversation_id, turn_id, owner))
    history = database.execute(
        "SELECT said, answer, steps FROM turns WHERE conversation_id = ? AND answer IS NOT NULL"
        " ORDER BY position DESC LIMIT ?",
        (conversation_id, exchanges),
    ).fetchall()
    exchanged = tuple(Exchange(said, answer, decode_steps(steps)) for said, answer, steps in reversed(history))
    return Loaded(reply, exchanged, _spent(database, scopes), _conversation(database, conversation_id), claimed_s)


def record(database: sqlite3.Connection, entry: Entry, replace: bool) -> tuple[StoredReply, ...]:
    """See `Store.record`."""
    ended = ((entry.turn_id, entry.reply), *entry.others)
    turns = [(entry.conversation_id, turn_id) for turn_id, _ in ended]
    if replace:
        database.executemany(
            "DELETE FROM turns WHERE conversation_id = ? AND turn_id = ? AND outcome IN ('failed', 'expired')", turns
        )
    if entry.scopes and entry.cost_usd:
        _spend(database, entry)
    database.executemany("DELETE FROM claims WHERE conversation_id = ? AND turn_id = ?", turns)
    counts = [_end(database, *turns[0], entry.reply, entry.exchange)]
    if counts[0] is entry.reply and (entry.exchange or entry.state is not None or entry.hand_off):
        _keep(database, entry)
    counts += [_end(database, entry.conversation_id, *other) for other in entry.others]
    return tuple(counts)


def renew(database: sqlite3.Connection, claims: Sequence[Claim]) -> None:
    """See `Store.renew`."""
    until = time.time() + CLAIM_S
    database.executemany(
        "UPDATE claims SET until = ? WHERE conversation_id = ? AND turn_id = ? AND owner = ?",
        [(until, *claim) for claim in claims],
    )


def release(database: sqlite3.Connection, claim: Claim) -> None:
    """See `Store.release`."""
    database.execute("DELETE FROM claims WHERE conversation_id = ? AND turn_id = ? AND owner = ?", claim)


def save_state(database: sqlite3.Connection, claim: Claim, state: State) -> bool:
    """See `Store.save_state`."""
    kept = database.execute(
        "INSERT INTO conversations (conversation_id, state, at) SELECT ?, ?, ? WHERE EXISTS"
        " (SELECT 1 FROM claims WHERE conversation_id = ? AND turn_id = ? AND owner = ?)"
        " ON CONFLICT DO UPDATE SET state = excluded.state, at = excluded.at",
        (claim.conversation_id, state.encode(), int(time.time()), *claim),
    )
    return kept.rowcount > 0


def save_summary(
    database: sqlite3.Connection, conversation_id: str, summary: str, summarised: int, cost_usd: float
) -> None:
    """See `Store.save_summary`."""
    database.execute(
        "UPDATE conversations SET summary_usd = summary_usd + ? WHERE conversation_id = ?", (cost_usd, conversation_id)
    )
    database.execute(
        "UPDATE conversations SET summary = ?, summarised = ? WHERE conversation_id = ? AND summarised < ?",
        (summary, summarised, conversation_id, summarised),
    )


def give_back(database: sqlite3.Connection, conversation_id: str) -> bool:
    """See `Store.give_back`."""
    changed = database.execute(
        "UPDATE conversations SET handed_off = NULL WHERE conversation_id = ? AND handed_off IS NOT NULL",
        (conversation_id,),
    )
    return changed.rowcount > 0


def forget(database: sqlite3.Connection, most: int) -> int:
    """Drops at most so many turns, and so many conversations, older than `KEEP_S`; returns how many turns."""
    now = int(time.time())
    database.execute("DELETE FROM spending WHERE hour < ?", ((now - KEEP_S) // HOUR_S,))
    database.execute("DELETE FROM claims WHERE until < ?", (now - CLAIM_S,))
    database.execute(
        "DELETE FROM conversations WHERE conversation_id IN"
        " (SELECT conversation_id FROM conversations WHERE at < ? ORDER BY at LIMIT ?)",
        (now - KEEP_S, most),
    )
    return database.execute(
        "DELETE FROM turns WHERE position IN (SELECT position FROM turns WHERE at < ? ORDER BY at LIMIT ?)",
        (now - KEEP_S, most),
    ).rowcount


def _claim(database: sqlite3.Connection, claim: Claim) -> float:
    """Takes a claim; returns for how many seconds another holds it, 0 when it is ours."""
    now = time.time()
    taken = database.execute(
        "INSERT INTO claims VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner, until = excluded.until"
        " WHERE owner = excluded.owner OR until < ?",
        (*claim, now + CLAIM_S, now),
    )
    if taken.rowcount:
        return 0.0
    (until,) = database.execute(
        "SELECT until FROM claims WHERE conversation_id = ? AND turn_id = ?", claim[:2]
    ).fetchone()
    return max(0.001, float(until) - now)


def _reply(database: sqlite3.Connection, conversation_id: str, turn_id: str) -> StoredReply | None:
    row = database.execute(
        "SELECT outcome, reply FROM turns WHERE conversation_id = ? AND turn_id = ?", (conversation_id, turn_id)
    ).fetchone()
    return StoredReply(*row) if row else None


def _end(
    database: sqlite3.Connection,
    conversation_id: str,
    turn_id: str,
    reply: StoredReply,
    exchange: Exchange | None = None,
) -> StoredReply:
    """Ends a turn that has no reply yet; returns the reply that counts: this very one, or the one that it has."""
    said, answer, steps = exchange or (None, None, ())
    stored = database.execute(
        "INSERT INTO turns (conversation_id, turn_id, said, steps, answer, outcome, reply, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (conversation_id, turn_id, said, encode_steps(steps), answer, *reply, int(time.time())),
    )
    first = None if stored.rowcount else _reply(database, conversation_id, turn_id)
    return first or reply


def _conversation(database: sqlite3.Connection, conversation_id: str) -> Conversation:
    row = database.execute(
        "SELECT exchanges, state, summary, summarised, handed_off, summary_usd FROM conversations WHERE conversation_id = ?",
        (conversation_id,),
    ).fetchone()
    if row is None:
        return Conversation()
    exchanges, state, *others = row
    return Conversation(exchanges, State.decode(state), *others)


def _keep(database: sqlite3.Connection, entry: Entry) -> None:
    """What a turn changed in its conversation."""
    state = None if entry.state is None else entry.state.encode()
    exchanged = int(entry.exchange is not None)
    database.execute(
        "INSERT INTO conversations (conversation_id, exchanges, state, handed_off, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET exchanges = exchanges + excluded.exchanges, state = COALESCE(excluded.state, state),"
        " handed_off = COALESCE(excluded.handed_off, handed_off), at = excluded.at",
        (entry.conversation_id, exchanged, state, entry.hand_off, int(time.time())),
    )


def _spent(database: sqlite3.Connection, scopes: Sequence[str]) -> dict[str, Spent]:
    hour = int(time.time()) // HOUR_S
    spent = {}
    for scope in scopes:
        in_hour, in_day = database.execute(
            "SELECT TOTAL(CASE WHEN hour = ? THEN usd END), TOTAL(usd) FROM spending WHERE scope = ? AND hour >= ?",
            (hour, scope, hour - hour % 24),
        ).fetchone()
        spent[scope] = Spent(hour, in_hour, in_day)
    return spent


def _spend(database: sqlite3.Connection, entry: Entry) -> None:
    hour = int(time.time()) // HOUR_S
    database.executemany(
        "INSERT INTO spending (scope, hour, usd) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET usd = usd + excluded.usd",
        [(scope, hour, entry.cost_usd) for scope in entry.scopes],
    )
