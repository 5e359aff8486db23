"""Conversations in SQLite: one file, shared by the workers of one machine.

Reads, and a write that comes alone, are done at once in the event loop: they take 20 to 60 us, and handing them to a thread
and back would take 200 to 400. Writes that come together go to a thread as one transaction: that is what makes a thousand
turns a second cheap. The thread also does what has to wait for another worker; the event loop never waits.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog

from forebay.schemas import SettingsError

from . import sqlite_erasure, sqlite_history
from . import sqlite_tables as tables
from .sqlite_file import open_file
from .sqlite_words import SQLiteWords
from .state import Claim, State
from .store import ConversationErased, Entry, Erased, HistoryPage, Loaded, Participant, StoredReply, StoreError
from .store_keys import StoreKeys

Result = TypeVar("Result")

CHECKPOINT_S = 2.0
"""Between two checkpoints of the write-ahead log, in seconds."""

log = structlog.get_logger()


class _Request(NamedTuple):
    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    future: asyncio.Future[Any]


class SQLiteStore:
    """The embedded store. Raises SettingsError when the file cannot be opened."""

    def __init__(self, path: str, keys: StoreKeys | None = None) -> None:
        """``keys`` seal what is written."""
        self._path, self._words = path, SQLiteWords(keys or StoreKeys())
        try:
            self._database = open_file(path, busy_s=10.0)
            self._here = open_file(path, busy_s=0.0)
        except sqlite3.Error as error:
            raise SettingsError(f"FOREBAY_STORE=sqlite:///{path}: {error}") from None
        self._loop = asyncio.get_running_loop()
        self._asked: list[_Request] = []
        self._handed_over = 0
        self._batches: queue.SimpleQueue[list[_Request] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, name="forebay-sqlite", daemon=True),
            threading.Thread(target=self._checkpoint, args=(path,), name="forebay-sqlite-checkpoint", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    async def load(
        self,
        conversation_id: str,
        turn_id: str,
        exchanges: int,
        scopes: Sequence[str] = (),
        owner: str | None = None,
    ) -> Loaded:
        """See `Store.load`."""
        work = partial(
            tables.load,
            conversation_id=conversation_id,
            turn_id=turn_id,
            exchanges=exchanges,
            scopes=scopes,
            owner=owner,
        )
        rows = await (self._read(work) if owner is None else self._ask(work, writes=True))
        words, reply = self._words, rows.reply
        return Loaded(
            reply and words.reply_of(conversation_id, turn_id, reply),
            words.exchanges_of(conversation_id, rows.history[::-1]),
            rows.spent,
            words.conversation_of(conversation_id, rows.conversation),
            rows.claimed_s,
            rows.conversation[-1] if rows.conversation else None,
        )

    async def record(self, entry: Entry, *, replace: bool = False) -> tuple[StoredReply, ...]:
        """See `Store.record`."""
        work = partial(tables.record, words=self._words, entry=entry, replace=replace)
        counts = await self._ask(work, writes=True)
        if isinstance(counts, ConversationErased):
            raise counts
        return counts

    async def renew(self, claims: Sequence[Claim]) -> None:
        """See `Store.renew`."""
        await self._ask(partial(tables.renew, claims=claims), writes=True)

    async def release(self, claim: Claim) -> None:
        """See `Store.release`."""
        await self._ask(partial(tables.release, claim=claim), writes=True)

    async def save_state(self, claim: Claim, state: State, erased_at: float | None = None) -> bool:
        """See `Store.save_state`."""
        work = partial(tables.save_state, words=self._words, claim=claim, state=state, erased_at=erased_at)
        return await self._ask(work, writes=True)

    async def save_summary(
        self,
        conversation_id: str,
        summary: str,
        summarised: int,
        cost_usd: float = 0.0,
        erased_at: float | None = None,
    ) -> None:
        """See `Store.save_summary`."""
        work = partial(
            tables.save_summary,
            words=self._words,
            conversation_id=conversation_id,
            summary=summary,
            summarised=summarised,
            cost_usd=cost_usd,
            erased_at=erased_at,
        )
        await self._ask(work, writes=True)

    async def remember_message(self, conversation_id: str, message_id: str, name: str, text: str, at: float) -> bool:
        """See `Store.remember_message`."""
        work = partial(
            sqlite_history.remember_message,
            words=self._words,
            conversation_id=conversation_id,
            message_id=message_id,
            name=name,
            text=text,
            at=at,
        )
        return await self._ask(work, writes=True)

    async def history(self, conversation_id: str, before: int | None = None, limit: int = 50) -> HistoryPage:
        """See `Store.history`."""
        rows = await self._read(
            partial(sqlite_history.page, conversation_id=conversation_id, before=before, limit=limit)
        )
        shown = rows.exchanges[:limit]
        return HistoryPage(
            tuple([self._words.remembered(conversation_id, row) for row in reversed(shown)]),
            shown[-1][0] if len(rows.exchanges) > limit else None,
            self._words.conversation_of(conversation_id, rows.conversation),
            tuple(Participant(user_id or None, tenant or None) for user_id, tenant in rows.participants),
        )

    async def give_back(self, conversation_id: str) -> bool:
        """See `Store.give_back`."""
        return await self._ask(partial(tables.give_back, conversation_id=conversation_id), writes=True)

    async def erase(self, conversation_id: str, *, dry_run: bool = False) -> Erased:
        """See `Store.erase`."""
        work = partial(sqlite_erasure.erase, words=self._words, conversation_id=conversation_id, dry_run=dry_run)
        return await self._ask(work, writes=not dry_run)

    async def conversations_of(self, user_id: str, tenant: str | None = None) -> tuple[str, ...]:
        """See `Store.conversations_of`."""
        return await self._read(partial(sqlite_erasure.conversations_of, user_id=user_id, tenant=tenant))

    async def scrub(self) -> str | None:
        """See `Store.scrub`."""
        return await asyncio.to_thread(sqlite_erasure.scrub, self._path)

    def drop(self, conversation_id: str) -> None:
        """See `Store.drop`: nothing is held."""

    async def forget_old(self, most: int = 200) -> int:
        """Drops at most so many turns older than `KEEP_S`; returns how many."""
        return await self._ask(partial(tables.forget, most=most), writes=True)

    async def close(self) -> None:
        """Waits for what was asked, then closes the file."""
        self._hand_over()
        self._batches.put(None)
        self._closing.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._database.close()
        self._here.close()

    async def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        try:
            return work(self._here)
        except sqlite3.Error:  # the thread can wait until another worker lets go of the file, and says what is wrong
            return await self._ask(work)

    def _ask(self, work: Callable[[sqlite3.Connection], Result], *, writes: bool = False) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = self._loop.create_future()
        if not self._asked:
            # Once for all that is asked in this round of the loop.
            self._loop.call_soon(self._hand_over)
        self._asked.append(_Request(work, writes, future))
        return future

    def _hand_over(self) -> None:
        batch, self._asked = self._asked, []
        if len(batch) == 1 and not self._handed_over:
            (result,) = _perform(self._here, batch)
            if not isinstance(result, StoreError):
                _settle(batch, [result])
                return
        if batch:
            self._handed_over += 1
            self._batches.put(batch)

    def _serve(self) -> None:
        while (batch := self._batches.get()) is not None:
            taken, closing = 1, False
            while not self._batches.empty() and not closing:
                more = self._batches.get()
                taken, closing = taken + 1, more is None
                batch = batch + (more or [])
            results = _perform(self._database, batch)
            self._loop.call_soon_threadsafe(self._settled, taken, batch, results)
            if closing:
                return

    def _settled(self, taken: int, batch: list[_Request], results: list[Any]) -> None:
        self._handed_over -= taken
        _settle(batch, results)

    def _checkpoint(self, path: str) -> None:
        """Moves the write-ahead log into the file, on a connection of its own.

        It waits for the disk (35 to 85 ms were measured); on the connection that serves turns, one in a hundred idle
        turns would wait with it.
        """
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            while not self._closing.wait(CHECKPOINT_S):
                try:
                    database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                except sqlite3.Error as error:
                    log.warning("store.checkpoint_failed", error=str(error))


def _perform(database: sqlite3.Connection, batch: list[_Request]) -> list[Any]:
    """Does all of a batch in one transaction, or none of it: then each result is the error."""
    writes = any(request.writes for request in batch)
    try:
        if writes:
            database.execute("BEGIN IMMEDIATE")
        results = [request.work(database) for request in batch]
        if writes:
            database.execute("COMMIT")
    except sqlite3.Error as error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        return [StoreError(f"sqlite: {error}")] * len(batch)
    except Exception as error:  # what one of them asks for cannot be stored at all: the others shall not suffer
        if database.in_transaction:
            database.execute("ROLLBACK")
        return [error] if len(batch) == 1 else [_perform(database, [request])[0] for request in batch]
    return results


def _settle(batch: list[_Request], results: list[Any]) -> None:
    for request, result in zip(batch, results, strict=True):
        if request.future.done():
            continue  # whoever asked was cancelled
        if isinstance(result, Exception):
            request.future.set_exception(result)
        else:
            request.future.set_result(result)
