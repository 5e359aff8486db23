"""Composing replies: what a turn's end says, outcome by outcome. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas import Failure, Handoff, Outcome, Reply, ReplyError, Said, Turn, Usage, new_id

from .conversations import Exchange
from .models import Completion

MAX_TRANSCRIPT = 500_000
"""Most characters in the transcript of a hand-off: its topic takes records of 4 MiB, and a character may need 6 bytes."""


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


def answered(turn: Turn, effort: Effort, completion: Completion, model: str, *, priced: bool) -> Reply:
    """A model's answer; ``priced`` says whether its cost is known."""
    return _reply(
        turn,
        effort,
        "answered",
        completion.text,
        model=model,
        route="simple",
        finish_reason=completion.finish_reason,
        usage=completion.usage,
        cost_usd=round(effort.cost_usd, 8) if priced else None,
    )


def by_rule(turn: Turn, effort: Effort, text: str) -> Reply:
    """An answer without a model."""
    return _reply(turn, effort, "answered", text, route="faq")


def handed_off(turn: Turn, effort: Effort, reason: str) -> Reply:
    """A person takes over; ``reason`` is why."""
    return _reply(turn, effort, "handed_off", _in_language(turn.text, *_HANDED_OFF), finish_reason=reason)


def handoff(turn: Turn, reply: Reply, history: Sequence[Exchange]) -> Handoff:
    """What the person needs to know, from the reply that told the user and the conversation so far."""
    transcript = [Said(role="user", text=turn.text)]
    left = MAX_TRANSCRIPT - len(turn.text)
    for said, answer, _ in reversed(history):
        left -= len(said) + len(answer)
        if left < 0:
            break
        transcript[:0] = (Said(role="user", text=said), Said(role="assistant", text=answer))
    return Handoff.model_construct(
        handoff_id=reply.reply_id,
        conversation_id=turn.conversation_id,
        turn_id=turn.turn_id,
        user_id=turn.user_id,
        tenant=turn.tenant,
        reason=reply.finish_reason or "unknown",
        transcript=tuple(transcript),
        created_at=reply.created_at,
    )


def expired(turn: Turn, effort: Effort) -> Reply:
    """The deadline passed before a model was called."""
    error = ReplyError(code="expired", message="the turn's deadline passed before it could be answered")
    return _reply(turn, effort, "expired", _in_language(turn.text, *_LATE), error=error)


def failed(turn: Turn, effort: Effort, failure: Failure) -> Reply:
    """The turn got no answer and is a dead letter."""
    error = ReplyError(code=failure.reason.value, message=failure.message)
    return _reply(turn, effort, "failed", _in_language(turn.text, *_FAILED), error=error)


def _reply(turn: Turn, effort: Effort, outcome: Outcome, text: str, **fields: Any) -> Reply:
    unset: dict[str, Any] = {"model": None, "route": None, "finish_reason": None, "usage": Usage(), "error": None}
    unset["cost_usd"] = round(effort.cost_usd, 8)
    return Reply.model_construct(  # every field comes from us: nothing to validate
        turn_id=turn.turn_id,
        conversation_id=turn.conversation_id,
        reply_id=new_id(),
        outcome=outcome,
        text=text,
        attempts=effort.attempts,
        queued_ms=round(max(0.0, effort.started * 1000 - effort.sent_ms), 1),
        model_ms=round(effort.model_s * 1000, 1),
        created_at=datetime.now(UTC),
        action=None,
        **unset | fields,
    )


_LATE = "Sorry, this took us too long. Please ask again.", "抱歉，排队时间过长，请再问一次。"
_FAILED = "Sorry, we cannot answer this right now. Please try again later.", "抱歉，我们暂时无法回答，请稍后再试。"
_HANDED_OFF = "A colleague will take over and answer you here.", "已为您转接人工客服，请稍候。"


def _in_language(asked: str, english: str, chinese: str) -> str:
    """An honest word to the customer, in Chinese where they wrote it."""
    return chinese if any("\u4e00" <= letter <= "\u9fff" for letter in asked) else english
