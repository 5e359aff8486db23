"""The context of one turn: what the steps of its answer share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.schemas import Failure, Reason, Reply, Turn, Usage
from forebay.workers.conversations import Claim, Exchange, Loaded, State, StoredReply
from forebay.workers.conversations.redaction import Redactor
from forebay.workers.engine.inbound import InboundRecord
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.turn_group import TurnGroup

from .deltas import DeltaStream
from .pseudonyms import Pseudonyms

_SESSIONS = 8
"""That are kept of a conversation: with other instructions or tools a provider makes new ones."""


_NOTHING = Loaded(None, ())


class Expired(Exception):
    """The deadline passed before a model was called."""


class AnsweredMeanwhile(Exception):
    """Another worker has answered this turn: ours was stopped, or out of its group, for a while."""


class GaveUp(Exception):
    """No model will answer this turn."""

    def __init__(self, reason: Reason, message: str, attempts: int = 0) -> None:
        super().__init__(message)
        self.failure = Failure(reason, message, attempts)


@dataclass(slots=True)
class Effort:
    """What was spent on one turn."""

    sent_ms: int
    """The record's timestamp, milliseconds since the epoch."""
    started: float
    """Seconds since the epoch."""
    attempts: int = 0
    """Model calls made."""
    model_s: float = 0.0
    """Seconds spent in them."""
    cost_usd: float = 0.0
    """What they cost, as far as prices are known."""
    priced: bool = True
    """Whether they all are."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    left_out_bytes: int = 0
    """Of the conversation, that the window kept from the models: what a summary or a limit saved, in each call."""

    owed_usd: float = 0.0
    """What of the cost is for summaries made since the last reply."""

    def owes(self, usd: float) -> float:
        """Adds what is owed for summaries, once; returns by how much the cost grew."""
        more, self.owed_usd = usd - self.owed_usd, usd
        self.cost_usd += more
        return more

    def used(self, usage: Usage, cost_usd: float | None) -> None:
        """Adds a call."""
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cache_read_tokens += usage.cache_read_tokens
        self.cost_usd += cost_usd or 0.0
        self.priced = self.priced and cost_usd is not None

    @property
    def usage(self) -> Usage:
        """Of all calls."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read_tokens,
        )


class TurnEnding(NamedTuple):
    """How a turn ends: its reply, and what is kept of it."""

    reply: Reply
    exchange: Exchange | None = None
    """To be remembered, as models may read it."""
    state: State | None = None
    """The conversation's from now on; None leaves it as the store has it."""
    hand_off: str | None = None
    """Why a person takes over from now on."""
    summarise_to: int = 0
    """How many exchanges a summary should cover; 0 when none is due."""
    failure: Failure | None = None
    """Why the turn is a dead letter."""


@dataclass(slots=True, eq=False)
class Member:
    """One turn of a group."""

    inbound: InboundRecord
    turn: Turn
    deadline: float
    """Seconds since the epoch."""
    replayed: bool = False
    """Whether an operator asks for it again: then a failed reply of it does not stand."""
    claim: Claim | None = None
    stored: StoredReply | None = None
    """What the store has of it."""

    @property
    def standing(self) -> StoredReply | None:
        """Its stored reply, if it stands. A replayed dead letter gets a new try; what was answered stays answered."""
        return self.stored if self.stored is not None and (self.stored.final or not self.replayed) else None


@dataclass(slots=True)
class TurnContext:
    """One turn on its way to a reply, or several that are answered together.

    `Answering.answer` makes it; `loaded` begins it anew at each attempt.
    """

    turn: Turn
    """What is answered: the last turn that is wanted, with the texts of all."""
    group: TurnGroup
    effort: Effort
    deadline: float = 0.0
    """Seconds since the epoch."""
    scopes: tuple[str, ...] = ()
    """The budgets that it counts against."""
    redactor: Redactor | None = None
    """What hides personal data from models."""
    members: list[Member] = field(default_factory=list)
    """The turns, in order; none for a record that is no turn."""
    open: list[Member] = field(default_factory=list)
    """Those of them that have no reply yet."""
    wanted: list[Member] = field(default_factory=list)
    """Those of these that are being answered."""
    lead: Member | None = None
    """The last of these: its reply has the answer. None for a record that is no turn."""
    permit: Permit = field(init=False)
    """To call a model."""
    past: Loaded = _NOTHING
    """What the store knew when the attempt began."""
    state: State = field(default_factory=State)
    """The conversation's, as it is by now."""
    stored_state: State = field(default_factory=State)
    """The conversation's, as the store has it by now."""
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    """What stands for the conversation's personal data."""
    partial: Exchange | None = None
    """What had been said and done when the answer was broken off."""
    streams: dict[str, DeltaStream] = field(default_factory=dict)
    """What was begun to be shown, by turn id."""

    def __post_init__(self) -> None:
        self.permit = self.group.permit

    def answer_to(self, wanted: list[Member]) -> None:
        """Answers these from now on."""
        self.wanted, self.lead, self.partial = wanted, wanted[-1], None
        self.turn, self.deadline = self.lead.turn, self.lead.deadline
        self.effort.sent_ms = self.lead.inbound.timestamp
        if len(wanted) > 1:
            text = "\n".join(member.turn.text for member in wanted)
            self.turn = self.turn.model_copy(update={"text": text})
            self.deadline = max(member.deadline for member in wanted)

    def loaded(self, past: Loaded) -> None:
        """An attempt begins, with what the store knows."""
        self.past = past
        self.open = [member for member in self.members if not member.standing]
        self.begin_with(past.conversation.state)

    def begin_with(self, state: State) -> None:
        """Takes the conversation's state as the store has it; what was changed since is forgotten."""
        self.state = self.stored_state = state
        self.pseudonyms = Pseudonyms(self.redactor, state.vault)

    @property
    def summary(self) -> str:
        """Of what was said before the history."""
        return self.past.conversation.summary

    @property
    def history(self) -> tuple[Exchange, ...]:
        """The latest exchanges, as models may read them; what persons of the shop wrote is stored as customers read it."""
        return tuple(
            exchange if exchange.person is None else exchange._replace(answer=self.pseudonyms.hide(exchange.answer))
            for exchange in self.past.history
        )

    def shown_history(self) -> list[Exchange]:
        """What was said before, as the customer has read it."""
        pseudonyms = Pseudonyms(None, self.past.conversation.state.vault)
        return [
            exchange._replace(said=pseudonyms.restore(exchange.said), answer=pseudonyms.restore(exchange.answer))
            for exchange in self.past.history
        ]

    def use_session(self, agent: str, session: str) -> None:
        """Notes what a provider keeps of the conversation."""
        sessions = dict([*self.state.sessions.items(), (agent, session)][-_SESSIONS:])
        self.state = self.state.model_copy(update={"sessions": sessions})

    def state_after(self, changes: Mapping[str, object] = {}) -> State:
        """The conversation's state after a turn that went well."""
        wanted: dict[str, object] = {"failures": 0, "vault": self.pseudonyms.vault.to_json(), **changes}
        if all(getattr(self.state, name) == value for name, value in wanted.items()):
            return self.state
        return self.state.model_copy(update=wanted)
