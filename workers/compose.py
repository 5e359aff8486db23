"""Composing replies: what a turn's end says, outcome by outcome. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas import Failure, Outcome, Reply, ReplyError, Turn, Usage, new_id

from .models import Completion


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


def answered(turn: Turn, effort: Effort, completion: Completion, model: str, cost_usd: float | None) -> Reply:
    """A model's answer."""
    return _reply(
        turn,
        effort,
        "answered",
        completion.text,
        model=model,
        route="simple",
        finish_reason=completion.finish_reason,
        usage=completion.usage,
        cost_usd=cost_usd,
    )


def expired(turn: Turn, effort: Effort) -> Reply:
    """The deadline passed before a model was called."""
    error = ReplyError(code="expired", message="the turn's deadline passed before it could be answered")
    return _reply(turn, effort, "expired", _apology(turn.text, late=True), error=error)


def failed(turn: Turn, effort: Effort, failure: Failure) -> Reply:
    """The turn got no answer and is a dead letter."""
    error = ReplyError(code=failure.reason.value, message=failure.message)
    return _reply(turn, effort, "failed", _apology(turn.text, late=False), error=error)


def _reply(turn: Turn, effort: Effort, outcome: Outcome, text: str, **fields: Any) -> Reply:
    unset = {"model": None, "route": None, "finish_reason": None, "usage": Usage(), "cost_usd": 0.0, "error": None}
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


def _apology(text: str, *, late: bool) -> str:
    """An honest word to the customer, in Chinese where they wrote it."""
    if any("\u4e00" <= letter <= "\u9fff" for letter in text):
        return "抱歉，排队时间过长，请再问一次。" if late else "抱歉，我们暂时无法回答，请稍后再试。"
    if late:
        return "Sorry, this took us too long. Please ask again."
    return "Sorry, we cannot answer this right now. Please try again later."
