"""The interface of stores: each conversation's history and state, and the reply of each turn that has one.

A turn whose reply is stored is never sent to a model again; the stored bytes are published instead. So the reply is
stored before it is published, and of two workers that answered the same turn the first to store it is right. A claim
keeps them from answering it at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from forebay.schemas import Outcome
from forebay.telemetry import tracing
from forebay.telemetry.tracing import NOTHING, Span
from forebay.workers.spent import Spent

from .exchange import Exchange
from .state import Claim, Conversation, State


class StoreError(Exception):
    """The store does not answer; the turn waits and is retried."""


class ConversationErased(Exception):
    """The conversation was erased since the turn was loaded: nothing of it may be stored but that it is over."""

    def __init__(self, erased_at: float) -> None:
        super().__init__("the conversation was erased meanwhile")
        self.erased_at = erased_at
        """In seconds since the epoch: what an entry has to say that it knows."""


class StoredReply(NamedTuple):
    """The reply a turn already has."""

    outcome: Outcome
    value: bytes

    @property
    def final(self) -> bool:
        """Whether the reply stays even when the turn is replayed."""
        return self.outcome not in ("failed", "expired")


class Loaded(NamedTuple):
    """What is known when a turn begins."""

    reply: StoredReply | None
    history: tuple[Exchange, ...]
    """The latest exchanges, oldest first."""
    spent: Mapping[str, Spent] = {}
    """Spending of the requested scopes."""
    conversation: Conversation = Conversation()
    claimed_s: float = 0.0
    """Seconds for which another worker still holds the turn; 0 when it is ours."""
    erased_at: float | None = None
    """When the conversation was erased, in seconds since the epoch: turns of before are over. None when it was not."""


class Entry(NamedTuple):
    """A turn that ended."""

    conversation_id: str
    turn_id: str
    reply: StoredReply
    exchange: Exchange | None
    """What to add to the history; None when the turn was not answered."""
    scopes: tuple[str, ...] = ()
    """The scopes whose budgets its cost counts against."""
    cost_usd: float = 0.0
    state: State | None = None
    """The conversation's new state; None leaves it unchanged."""
    hand_off: str | None = None
    """Why a person takes over from now on."""
    others: tuple[tuple[str, StoredReply], ...] = ()
    """Further turns of the conversation that end in the same step, such as those merged into this one: id and reply."""
    user_id: str | None = None
    """Who spoke."""
    tenant: str | None = None
    erased_at: float | None = None
    """The erasure that the turn knows of, as it was loaded."""


class Remembered(NamedTuple):
    """An exchange as people are shown it."""

    turn_id: str | None
    """Of a person's message its id. None where a store of an earlier version kept none."""
    at: float | None
    """When it was stored, or the person's message was written, in seconds since the epoch. None as above."""
    exchange: Exchange


class Participant(NamedTuple):
    """Who speaks in a conversation, as far as its turns say."""

    user_id: str | None
    tenant: str | None


class HistoryPage(NamedTuple):
    """A part of what was said in a conversation, with what one needs to show it."""

    exchanges: tuple[Remembered, ...]
    """Oldest first, as models may read them: the vault in the conversation's state has the real values."""
    before: int | None
    """What the next older page is asked for with; None when there is none."""
    conversation: Conversation
    participants: tuple[Participant, ...] = ()
    """Who spoke first comes first; empty when no turn said."""


class Erased(NamedTuple):
    """What an erasure removed, or would remove."""

    removed: Mapping[str, int]
    """How many replies, exchanges, persons' messages, summaries, redacted values, claims and participants."""
    sessions: tuple[str, ...] = ()
    """What providers keep of the conversation, as `State.sessions` has it: the store cannot remove that."""
    erased_at: float | None = None
    """Seconds since the epoch; None when it was only counted."""

    unreadable: str | None = None
    """Why it is not known what providers keep, and how many values were redacted."""

    @classmethod
    def of(cls, read: Callable[[], State], erased_at: float | None, **removed: int) -> Erased:
        """With what the conversation's state held. What cannot be read is removed all the same: its key may be lost."""
        try:
            state, unreadable = read(), None
        except StoreError as error:
            state, unreadable = State(), str(error)
        values = sum(value is not None for value in state.vault.values())
        removed["redacted_values"] = values
        return cls(removed, tuple(state.sessions.values()), erased_at, unreadable)


class Store(Protocol):
    """Loads and records turns. Every method raises StoreError when the store does not answer."""

    async def load(
        self,
        conversation_id: str,
        turn_id: str,
        exchanges: int,
        scopes: Sequence[str] = (),
        owner: str | None = None,
    ) -> Loaded:
        """The turn's reply if it has one, the conversation's latest ``exchanges``, what the ``scopes`` have spent.

        An ``owner`` claims the turn in the same step, unless it has a final reply or another holds it.
        """

    async def record(self, entry: Entry, *, replace: bool = False) -> tuple[StoredReply, ...]:
        """Stores replies, exchange, state and cost together, and ends the turns' claims, whoever holds them.

        Returns the replies that count: of the entry's turn, then of its ``others`` in order. The first one stored of each
        turn counts. Where the entry's turn has one already, exchange, state and hand-off change nothing; the cost is
        counted, and of the others those without a reply get theirs. ``replace`` puts new replies in the place of failed
        ones, for turns that were replayed.

        Raises ConversationErased, and stores nothing, when the conversation was erased since the turn was loaded.
        """

    async def renew(self, claims: Sequence[Claim]) -> None:
        """Prolongs the claims that their owners still hold."""

    async def release(self, claim: Claim) -> None:
        """Ends a claim, if its owner still holds it: another may begin at once."""

    async def save_state(self, claim: Claim, state: State, erased_at: float | None = None) -> bool:
        """Keeps the state before the turn has ended, for what must survive a crash, if its owner still holds the claim

        and the conversation was not erased since it was loaded: ``erased_at`` is the erasure that the turn knows of.

        Returns whether it did: a worker that was stopped for a while must not put an old state in the place of a new one.
        """

    async def save_summary(
        self,
        conversation_id: str,
        summary: str,
        summarised: int,
        cost_usd: float = 0.0,
        erased_at: float | None = None,
    ) -> None:
        """Keeps a summary of the first ``summarised`` exchanges, unless there is one of more of them; adds its cost.

        ``erased_at`` is the erasure that was known when they were loaded; after another one nothing is kept.
        """

    async def remember_message(self, conversation_id: str, message_id: str, name: str, text: str, at: float) -> bool:
        """Adds what a person of the shop wrote to the history, in the order it comes; ``at`` in seconds since the epoch.

        Returns whether it did: not where a message of this id is there already, or it is older than an erasure.
        """

    async def history(self, conversation_id: str, before: int | None = None, limit: int = 50) -> HistoryPage:
        """The latest ``limit`` exchanges, or those before the page that named ``before``."""

    async def give_back(self, conversation_id: str) -> bool:
        """The assistant answers again where a person had taken over; returns whether one had."""

    async def erase(self, conversation_id: str, *, dry_run: bool = False) -> Erased:
        """Removes all that is kept of a conversation, but for when that was, so that no turn of before writes it back.

        ``dry_run`` only counts.
        """

    async def conversations_of(self, user_id: str, tenant: str | None = None) -> tuple[str, ...]:
        """Ids of the conversations in which a user spoke; ``tenant`` None means of any tenant."""

    async def scrub(self) -> str | None:
        """Makes the store's files forget what was deleted. Returns what could not be done, as a sentence; None is all."""

    def drop(self, conversation_id: str) -> None:
        """Lets go of what this process holds of a conversation in memory."""

    async def close(self) -> None:
        """Finishes what was begun."""


def store_span(operation: str) -> Span:
    """One look into the store of conversations, or one entry."""
    return NOTHING if tracing.tracer is None else tracing.tracer.start(f"store {operation}", "internal", {})
