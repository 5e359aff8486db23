"""Turns and conversations in the SQLite store: each function is a step in its caller's transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import NamedTuple

from forebay.workers.spent import HOUR_S, Spent

from . import sqlite_erasure, sqlite_history
from .exchange import Exchange
from .sqlite_words import Row, SQLiteWords
from .state import CLAIM_S, Claim, State
from .store import ConversationErased, Entry, Participant, StoredReply

KEEP_S = 30 * 86_400
"""Turns older than this are forgotten: as long as their dead letters can be replayed."""
ERASED_S = KEEP_S + 7 * 86_400
"""For how long an erasure is remembered, in seconds: Kafka keeps some dead letters longer than it has to."""


class LoadedRows(NamedTuple):
    """What the tables say when a turn begins."""

    reply: StoredReply | None
    history: list[Row]
    """Newest first: turn, said, answer, steps, person."""
    spent: dict[str, Spent]
    conversation: Row | None
    claimed_s: float


def load(
    database: sqlite3.Connection,
    conversation_id: str,
    turn_id: str,
    exchanges: int,
    scopes: Sequence[str],
    owner: str | None,
) -> LoadedRows:
    """See `Store.load`."""
    reply, claimed_s = _reply(database, conversation_id, turn_id), 0.0
    if owner is not None and not (reply and reply.final):
        claimed_s = _claim(database, Claim(conversation_id, turn_id, owner))
    latest = sqlite_history.latest(database, conversation_id, exchanges)
    conversation = sqlite_history.conversation(database, conversation_id)
    return LoadedRows(reply, latest, _spent(database, scopes), conversation, claimed_s)


def record(
    database: sqlite3.Connection, words: SQLiteWords, entry: Entry, replace: bool
) -> tuple[StoredReply, ...] | ConversationErased:
    """See `Store.record`. An erasure is returned: raised, it would undo what others write in the same transaction."""
    erased_at = sqlite_erasure.erased_at(database, entry.conversation_id)
    if erased_at is not None and erased_at != entry.erased_at:
        return ConversationErased(erased_at)
    ended = ((entry.turn_id, entry.reply), *entry.others)
    turns = [(entry.conversation_id, turn_id) for turn_id, _ in ended]
    if replace:
        database.executemany(
            "DELETE FROM turns WHERE conversation_id = ? AND turn_id = ? AND outcome IN ('failed', 'expired')", turns
        )
    if entry.scopes and entry.cost_usd:
        _spend(database, entry)
    for turn in turns:  # nearly always one, and `executemany` is slower for it
        database.execute("DELETE FROM claims WHERE conversation_id = ? AND turn_id = ?", turn)
    counts = [_end(database, words, *turns[0], entry.reply, entry.exchange)]
    if counts[0] is entry.reply:
        _keep(database, words, entry)
    counts += [_end(database, words, entry.conversation_id, *other) for other in entry.others]
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


def save_state(
    database: sqlite3.Connection, words: SQLiteWords, claim: Claim, state: State, erased_at: float | None
) -> bool:
    """See `Store.save_state`."""
    kept = database.execute(
        "INSERT INTO conversations (conversation_id, state, at) SELECT ?, ?, ? WHERE EXISTS"
        " (SELECT 1 FROM claims WHERE conversation_id = ? AND turn_id = ? AND owner = ?)"
        " ON CONFLICT DO UPDATE SET state = excluded.state, at = excluded.at WHERE erased_at IS ?",
        (claim.conversation_id, words.state(claim.conversation_id, state), int(time.time()), *claim, erased_at),
    )
    return kept.rowcount > 0


def save_summary(
    database: sqlite3.Connection,
    words: SQLiteWords,
    conversation_id: str,
    summary: str,
    summarised: int,
    cost_usd: float,
    erased_at: float | None,
) -> None:
    """See `Store.save_summary`."""
    database.execute(
        "UPDATE conversations SET summary_usd = summary_usd + ? WHERE conversation_id = ? AND erased_at IS ?",
        (cost_usd, conversation_id, erased_at),
    )
    database.execute(
        "UPDATE conversations SET summary = ?, summarised = ?"
        " WHERE conversation_id = ? AND summarised < ? AND erased_at IS ?",
        (words.text(conversation_id, "summary", summary), summarised, conversation_id, summarised, erased_at),
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
    old = [
        row[:1]
        for row in database.execute(
            "SELECT conversation_id FROM conversations WHERE at < ? AND COALESCE(erased_at, 0) < ? ORDER BY at LIMIT ?",
            (now - KEEP_S, now - ERASED_S, most),
        )
    ]
    database.executemany("DELETE FROM participants WHERE conversation_id = ?", old)
    database.executemany("DELETE FROM conversations WHERE conversation_id = ?", old)
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
    words: SQLiteWords,
    conversation_id: str,
    turn_id: str,
    reply: StoredReply,
    exchange: Exchange | None = None,
) -> StoredReply:
    """Ends a turn that has no reply yet; returns the reply that counts: this very one, or the one that it has."""
    columns = words.exchange(conversation_id, turn_id, exchange)
    written = words.reply(conversation_id, turn_id, reply)
    stored = database.execute(
        "INSERT INTO turns (conversation_id, turn_id, said, steps, answer, person, outcome, reply, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (conversation_id, turn_id, *columns, *written, int(time.time())),
    )
    first = None if stored.rowcount else _reply(database, conversation_id, turn_id)
    return words.reply_of(conversation_id, turn_id, first) if first else reply


def _keep(database: sqlite3.Connection, words: SQLiteWords, entry: Entry) -> None:
    """What a turn changed in its conversation."""
    speaker = Participant(entry.user_id, entry.tenant)
    if not (entry.exchange or entry.state is not None or entry.hand_off or any(speaker)):
        return
    if any(speaker):
        sqlite_history.take_part(database, entry.conversation_id, speaker)
    state = words.state(entry.conversation_id, entry.state)
    hand_off = words.text(entry.conversation_id, "handed_off", entry.hand_off)
    exchanged = int(entry.exchange is not None)
    database.execute(
        "INSERT INTO conversations (conversation_id, exchanges, state, handed_off, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET exchanges = exchanges + excluded.exchanges, state = COALESCE(excluded.state, state),"
        " handed_off = COALESCE(excluded.handed_off, handed_off), at = excluded.at",
        (entry.conversation_id, exchanged, state, hand_off, int(time.time())),
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
