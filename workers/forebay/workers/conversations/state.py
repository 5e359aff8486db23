"""A conversation's state besides its history: pending action, specialist, redacted values, sessions, costs."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class Pending(BaseModel):
    """An action that waits for the user's confirmation, or that was begun after it."""

    model_config = ConfigDict(frozen=True)

    action_id: str
    """Also the idempotency key that the tool gets."""
    tool: str
    arguments: str
    """JSON, checked."""
    specialist: str | None = None
    """Whose tool it is; None is the assistant's own."""
    user_id: str | None
    tenant: str | None = None
    """Only this tenant's user may confirm."""
    summary: str
    expires_at: float
    """Seconds since the epoch."""
    turn_id: str | None = None
    """The turn that accepted: from then on only a redelivery of that turn may go on. None before."""
    result: str | None = None
    """The tool's result, as a model may read it. None before it returned, or when a crash came first."""
    failed: bool = False
    """Whether the result is an error."""


class State(BaseModel):
    """The state that a conversation's turns read and change, one after the other."""

    model_config = ConfigDict(frozen=True)

    specialist: str | None = None
    """The specialist that answered last."""
    failures: int = 0
    """Turns in a row that got no answer."""
    pending: Pending | None = None
    settled: Pending | None = None
    """The last action that was run or declined."""
    vault: dict[str, str | None] = {}
    """The real values behind the placeholders that models were shown."""
    sessions: dict[str, str] = {}
    """Ids of the sessions that providers keep for this conversation, by agent."""
    billed_usd: float = 0.0
    """How much of what summaries cost is in the cost of a reply already."""

    def billed(self, usd: float) -> State:
        """The same after this much of the summaries' cost is in replies."""
        return self if usd == self.billed_usd else self.model_copy(update={"billed_usd": usd})

    def encode(self) -> bytes:
        """As JSON for a store; most conversations have none."""
        return b"" if self == _NEW else self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def decode(cls, value: bytes | None) -> State:
        """What `encode` wrote."""
        return cls.model_validate_json(value) if value else _NEW


_NEW = State()


class Conversation(NamedTuple):
    """What a store knows of a conversation besides its latest exchanges."""

    exchanges: int = 0
    """Number of exchanges in all."""
    state: State = _NEW
    summary: str = ""
    """Summary of its first exchanges."""
    summarised: int = 0
    """How many exchanges the summary covers."""
    handed_off: str | None = None
    """Why a person has taken over; None while none has."""
    summary_usd: float = 0.0
    """Cost of all its summaries."""

    @property
    def owed_usd(self) -> float:
        """What summaries cost since the last reply: it is part of the next one's cost."""
        return max(0.0, self.summary_usd - self.state.billed_usd)


class Claim(NamedTuple):
    """Who works on a turn. It ends after `CLAIM_S` unless it is renewed."""

    conversation_id: str
    turn_id: str
    owner: str


CLAIM_S = 7.5
"""Longer than Kafka takes to give the partition of a killed worker to another (6 s), so that a worker that is only slow
keeps its turns; no longer, since whoever takes over waits for it."""
