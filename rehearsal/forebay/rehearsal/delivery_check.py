"""The delivery check: what was sent, what came back, and whether every promise was kept. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.schemas import Reply, Usage


@dataclass(slots=True)
class Dialogue:
    """Turns that one customer sent, and the replies to them."""

    sent: list[str] = field(default_factory=list)
    """Turn ids in the order they were sent."""
    replied: list[str] = field(default_factory=list)
    """Turn ids in the order their replies lie in the topic; repeats left out."""


class Answer(NamedTuple):
    """The first reply to a turn, with its times in seconds on the steady clock of the check."""

    turn_id: str
    sent_at: float
    began_at: float
    """When its answer began, by what the reply says of waiting."""
    replied_at: float
    model_s: float
    outcome: str
    model: str | None
    route: str | None
    usage: Usage
    cost_usd: float
    attempts: int
    """Model calls made for it."""

    def after(self, began: float) -> Answer:
        """The same with its moments counted from ``began``."""
        return self._replace(
            sent_at=self.sent_at - began, began_at=self.began_at - began, replied_at=self.replied_at - began
        )

    @property
    def latency_s(self) -> float:
        """From sending the turn to reading its reply."""
        return self.replied_at - self.sent_at

    @property
    def waited_s(self) -> float:
        """Until its answer began."""
        return self.began_at - self.sent_at

    @property
    def succeeded(self) -> bool:
        """Whether the customer got an answer."""
        return self.outcome in ("answered", "confirmation_required")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts that must be zero, and the ones that need not."""

    sent: int
    answered: int
    other_outcomes: int
    """Replies that are no answers: failed, expired or cancelled, merged into another turn's, or a person took over."""
    lost: int
    """Turns without any reply, or merged into one that has none."""
    out_of_order: int
    """Replies that came before one of an earlier turn of their conversation."""
    duplicates: int
    """Turns with two different replies."""
    repeats: int
    """Byte-identical replies published again after a crash, which readers drop by turn id."""
    forgotten: int
    """Replies of a model that was not shown all earlier turns of its conversation."""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.out_of_order or self.duplicates or self.forgotten)


LEAST_SHOWN = 8
"""Exchanges that the default window never leaves out: what is older may be in its summary."""


def remembered(turns_shown: int, exchanges: int) -> bool:
    """Whether a model was shown what it should be: all, or the latest, of so many exchanges before the turn's own words."""
    return min(exchanges, LEAST_SHOWN) < turns_shown <= exchanges + 1


@dataclass(slots=True)
class DeliveryCheck:
    """Counts turns when they are sent and replies when they are read."""

    conversations: dict[str, Dialogue] = field(default_factory=lambda: defaultdict(Dialogue))
    sent_at: dict[str, float] = field(default_factory=dict)
    """Seconds on a steady clock, by turn id."""
    answers: list[Answer] = field(default_factory=list)
    """In the order in which their replies were read."""
    cost_usd: float = 0.0
    answered: int = 0
    duplicates: int = 0
    repeats: int = 0
    forgotten: int = 0
    _replies: dict[str, bytes] = field(default_factory=dict)
    _merged: list[tuple[str, str]] = field(default_factory=list)  # turn ids: of a merged one, and of what it went into

    @property
    def sent(self) -> int:
        """Turns sent."""
        return len(self.sent_at)

    @property
    def replied(self) -> int:
        """Turns that have a reply."""
        return len(self._replies)

    def turn_sent(self, conversation_id: str, turn_id: str, now: float) -> None:
        """A turn is on its way."""
        self.conversations[conversation_id].sent.append(turn_id)
        self.sent_at[turn_id] = now

    def reply_read(self, reply: Reply, value: bytes, now: float, remembered: bool = True) -> None:
        """A record of the replies topic; ``remembered`` says whether its text proves that the model saw what came before."""
        if reply.turn_id not in self.sent_at:
            return
        known = self._replies.get(reply.turn_id)
        if known is not None:
            self.repeats += known == value
            self.duplicates += known != value
            return
        self._replies[reply.turn_id] = value
        self.conversations[reply.conversation_id].replied.append(reply.turn_id)
        if reply.outcome == "merged":
            self._merged.append((reply.turn_id, reply.merged_into or ""))
        answer = _answer(reply, self.sent_at[reply.turn_id], now)
        self.answers.append(answer)
        self.cost_usd += answer.cost_usd
        self.answered += answer.succeeded
        self.forgotten += answer.succeeded and not remembered

    def _leads(self, merged: str, into: str) -> bool:
        """Whether the one that a turn was merged into is another turn, and has its reply."""
        return into != merged and into in self._replies

    def verdict(self) -> Verdict:
        """The counts so far."""
        return Verdict(
            sent=self.sent,
            answered=self.answered,
            other_outcomes=self.replied - self.answered,
            lost=self.sent - self.replied + sum(not self._leads(*pair) for pair in self._merged),
            out_of_order=sum(_out_of_order(conversation) for conversation in self.conversations.values()),
            duplicates=self.duplicates,
            repeats=self.repeats,
            forgotten=self.forgotten,
        )


def _answer(reply: Reply, sent_at: float, now: float) -> Answer:
    return Answer(
        turn_id=reply.turn_id,
        sent_at=sent_at,
        began_at=sent_at + reply.queued_ms / 1000,
        replied_at=now,
        model_s=reply.model_ms / 1000,
        outcome=reply.outcome,
        model=reply.model,
        route=reply.route,
        usage=reply.usage,
        cost_usd=reply.cost_usd or 0.0,
        attempts=reply.attempts,
    )


def _out_of_order(conversation: Dialogue) -> int:
    place = {turn_id: number for number, turn_id in enumerate(conversation.sent)}
    latest, wrong = -1, 0
    for turn_id in conversation.replied:
        wrong += place[turn_id] < latest
        latest = max(latest, place[turn_id])
    return wrong
