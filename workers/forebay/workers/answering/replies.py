"""Replies: what a turn's end says, outcome by outcome. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from forebay.schemas import (
    CONVERSATION_BUSY,
    Action,
    Failure,
    Handoff,
    Outcome,
    Reply,
    ReplyError,
    Said,
    Turn,
    new_id,
)
from forebay.workers.conversations import Exchange

from .turn_context import Effort, Member, TurnContext

MAX_TRANSCRIPT = 500_000
"""Most characters in the transcript of a hand-off: its topic takes records of 4 MiB, and a character may need 6 bytes."""


def answered(context: TurnContext, text: str, route: str, model: str, finish_reason: str) -> Reply:
    """A model's answer."""
    return _reply(context, "answered", text, model=model, route=route, finish_reason=finish_reason)


def by_rule(context: TurnContext, text: str, route: str = "faq") -> Reply:
    """An answer without a model's words."""
    return _reply(context, "answered", text, route=route)


def confirmation(context: TurnContext, action: Action, route: str, model: str) -> Reply:
    """The user is asked for their word."""
    return _reply(context, "confirmation_required", action.summary, action=action, route=route, model=model)


def settled(summary: str, outcome: Settled) -> str:
    """What the user is told of an action without a model's words, in the language of its ``summary``."""
    return _in_language(summary, *_SETTLED[outcome]).replace("{}", summary)


def handed_off(context: TurnContext, reason: str, text: str | None = None) -> Reply:
    """A person takes over; ``reason`` is why."""
    said = text or _in_language(context.turn.text, *_HANDED_OFF)
    return _reply(context, "handed_off", said, finish_reason=reason)


def handoff(turn: Turn, reply: Reply, history: Sequence[Exchange]) -> Handoff:
    """What the person needs to know, from the reply that told the user and the conversation so far."""
    transcript = [Said(role="user", text=turn.text)]
    left = MAX_TRANSCRIPT - len(turn.text)
    for exchange in reversed(history):
        left -= len(exchange.said) + len(exchange.answer)
        if left < 0:
            break
        answered = Said(role="assistant" if exchange.person is None else "person", text=exchange.answer)
        asked = [Said(role="user", text=exchange.said)] if exchange.said else []
        transcript[:0] = (*asked, answered)
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


def expired(context: TurnContext) -> Reply:
    """The deadline passed before a model was called."""
    error = ReplyError(code="expired", message="the turn's deadline passed before it could be answered")
    return _reply(context, "expired", _in_language(context.turn.text, *_LATE), error=error)


def failed(context: TurnContext, failure: Failure) -> Reply:
    """The turn got no answer and is a dead letter."""
    error = ReplyError(code=failure.reason.value, message=failure.message)
    return _reply(context, "failed", _in_language(context.turn.text, *_FAILED), error=error)


def busy(context: TurnContext) -> Reply:
    """The turn found its conversation busy and did not want to wait."""
    error = ReplyError(code=CONVERSATION_BUSY, message="the conversation had a turn that was not answered yet")
    return _reply(context, "failed", _in_language(context.turn.text, *_BUSY), error=error)


def cancelled(context: TurnContext, text: str) -> Reply:
    """The turn was taken back; ``text`` is what had been said by then."""
    return _reply(context, "cancelled", text)


def with_the_lead(context: TurnContext, member: Member, lead: Reply) -> Reply:
    """The reply of another turn of a group, whose work and cost are in the ``lead``'s reply.

    Where the lead got no answer, the others have none either, and say so themselves: each may be asked again.
    """
    effort = Effort(member.inbound.timestamp, context.effort.started)
    alone = TurnContext(member.turn, context.group, effort, member.deadline)
    if lead.outcome == "cancelled" or member not in context.wanted:
        reply = cancelled(alone, "")
    elif lead.outcome in ("failed", "expired"):
        reply = _reply(alone, lead.outcome, lead.text, error=lead.error)
    else:
        reply = _reply(alone, "merged", "", merged_into=lead.turn_id)
    return reply.model_copy(update={"created_at": lead.created_at})


def _reply(context: TurnContext, outcome: Outcome, text: str, **fields: Any) -> Reply:
    unset: dict[str, Any] = dict.fromkeys(("model", "route", "finish_reason", "error", "action", "merged_into"))
    turn, effort = context.turn, context.effort
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
        usage=effort.usage,
        cost_usd=round(effort.cost_usd, 8) if effort.priced else None,
        **unset | fields,
    )


Settled = Literal["done", "failed", "declined", "late", "repeated", "unknown"]
"""What became of an action; `unknown` is one that must not be run again, and a crash came while it ran."""
_SETTLED: dict[Settled, tuple[str, str]] = {
    "done": ("Done: {}", "已完成：{}"),
    "failed": ("Sorry, that did not work: {}", "抱歉，操作没有成功：{}"),
    "declined": ("All right, nothing was done: {}", "好的，已取消，未执行任何操作：{}"),
    "late": (
        "This was not confirmed in time, so nothing was done. Please ask again.",
        "确认已超时，未执行任何操作，请重新提出。",
    ),
    "repeated": ("This was taken care of already: {}", "这项操作已经处理过了：{}"),
    "unknown": (
        "We could not make sure whether this was carried out; a colleague will look into it and answer you here: {}",
        "我们无法确认该操作是否已执行，同事会核实后在这里回复您：{}",
    ),
}
_LATE = "Sorry, this took us too long. Please ask again.", "抱歉，排队时间过长，请再问一次。"
_FAILED = "Sorry, we cannot answer this right now. Please try again later.", "抱歉，我们暂时无法回答，请稍后再试。"
_BUSY = "Your last message is still being answered.", "您的上一条消息还在处理中。"
_HANDED_OFF = "A colleague will take over and answer you here.", "已为您转接人工客服，请稍候。"


def _in_language(asked: str, english: str, chinese: str) -> str:
    """An honest word to the customer, in Chinese where they wrote it."""
    return chinese if any("\u4e00" <= letter <= "\u9fff" for letter in asked) else english
