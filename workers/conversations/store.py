"""The store of a worker: the history of each conversation, and the reply of each turn that has one.

A turn whose reply is stored is never sent to a model again; the stored bytes are published instead. So the reply is
stored before it is published, and of two workers that answered the same turn the first to store it is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas import Outcome
from workers.flow.budget import Spent


class StoreError(Exception):
    """The store does not answer; the turn waits and is tried again."""


class Exchange(NamedTuple):
    """One answered turn of a conversation."""

    said: str
    answer: str


class StoredReply(NamedTuple):
    """The reply a turn already has."""

    outcome: Outcome
    value: bytes


class Loaded(NamedTuple):
    """What is known when a turn begins."""

    reply: StoredReply | None
    history: tuple[Exchange, ...]
    """Oldest first."""
    spent: Mapping[str, Spent] = {}
    """Of the scopes that were asked for."""


class Entry(NamedTuple):
    """A turn that ended."""

    conversation_id: str
    turn_id: str
    reply: StoredReply
    exchange: Exchange | None
    """What to remember of it; None when it was not answered, which leaves the history as it was."""
    scopes: tuple[str, ...] = ()
    """Against whose budgets its cost counts."""
    cost_usd: float = 0.0


class Store(Protocol):
    """Loads and records turns."""

    async def load(self, conversation_id: str, turn_id: str, exchanges: int, scopes: Sequence[str] = ()) -> Loaded:
        """The turn's reply if it has one, the conversation's latest ``exchanges``, what the ``scopes`` have spent.

        Raises StoreError.
        """

    async def record(self, entry: Entry, *, replace: bool = False) -> StoredReply:
        """Stores reply, exchange and cost together; returns the reply that counts, which is the first one stored.

        ``replace`` puts a new reply in the place of a failed one, for a turn that was replayed. Raises StoreError.
        """

    async def close(self) -> None:
        """Finishes what was begun."""
