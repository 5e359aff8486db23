"""The shop's database: one SQLite file, shared by the workers of one machine; yours would be your shop's own.

Every call opens its own connection, so that any thread may call; that takes a tenth of a millisecond.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_SEED = Path(__file__).with_name("seed.sql")
_BUSY_S = 10.0
"""How long to wait for another worker that writes."""


@contextmanager
def database(*, write: bool = False) -> Iterator[sqlite3.Connection]:
    """One transaction, undone if the block raises. The file is ``SHOP_DATABASE`` (``shop.db``), made on first use."""
    path = os.environ.get("SHOP_DATABASE") or "shop.db"
    with closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as opened:
        opened.row_factory = sqlite3.Row
        if opened.execute("PRAGMA user_version").fetchone()[0] == 0:
            opened.executescript(_SEED.read_text(encoding="utf-8"))
        # A transaction that reads first and writes later can be refused in between; one that begins as a writer cannot.
        opened.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        yield opened
        opened.execute("COMMIT")  # without it, closing undoes the block


def once(key: str, act: Callable[[sqlite3.Connection], str]) -> str:
    """What ``act`` returns; under the same key again, what it returned then, without doing anything.

    The key is kept in the transaction of the deed: a crash leaves both or neither.
    """
    with database(write=True) as opened:
        done = opened.execute("SELECT result FROM actions WHERE key = ?", (key,)).fetchone()
        if done is not None:
            return str(done["result"])
        result = act(opened)
        opened.execute("INSERT INTO actions VALUES (?, ?)", (key, result))
        return result
