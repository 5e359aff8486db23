"""What a turn comes to when no model answers it: a rule's answer, a person, or an honest word and a dead letter."""

from __future__ import annotations

import structlog

from forebay.schemas import Failure, Reason, Turn
from forebay.workers.assistants import Assistant
from forebay.workers.conversations import Exchange
from forebay.workers.mistakes import MISTAKES, raise_if_ours

from . import replies
from .turn_context import TurnContext, TurnEnding

log = structlog.get_logger()


def ending_without_model(context: TurnContext, assistant: Assistant, failure: Failure) -> TurnEnding:
    """How the turn ends after this ``failure``."""
    if failure.reason is Reason.UNKNOWN_ACTION:
        return TurnEnding(replies.failed(context, failure), failure=failure)
    context.begin_with(context.stored_state)
    state = context.state.model_copy(update={"failures": context.state.failures + 1})
    if text := _last_resort(assistant, context.turn):
        exchange = Exchange(context.pseudonyms.hide(context.turn.text), context.pseudonyms.hide(text))
        state = state.model_copy(update={"vault": context.pseudonyms.vault.to_json()})
        return TurnEnding(replies.by_rule(context, text), exchange, state)
    rules, reason = assistant.hand_off, failure.reason.value
    if rules is not None and rules.after_failures and state.failures >= rules.after_failures:
        context.state = state
        return to_a_person(context, reason)
    if failure.reason is Reason.OVER_BUDGET:
        return TurnEnding(replies.handed_off(context, reason))
    return TurnEnding(replies.failed(context, failure), state=state, failure=failure)


def to_a_person(context: TurnContext, reason: str, text: str | None = None) -> TurnEnding:
    """A person takes over, or has done so before: what the customer said is remembered, for them and for who comes after."""
    reply = replies.handed_off(context, reason, text)
    hide, said = context.pseudonyms.hide, context.turn.text
    exchange = Exchange(hide(said), hide(reply.text)) if said else None
    begins = None if context.past.conversation.handed_off else reason
    state = context.state_after({"failures": context.state.failures})
    return TurnEnding(reply, exchange, state, hand_off=begins)


def _last_resort(assistant: Assistant, turn: Turn) -> str | None:
    if assistant.last_resort is None:
        return None
    try:
        text = assistant.last_resort(turn)
        if text is None or text.encode():
            return text
        raise ValueError("it answers nothing")
    except MISTAKES as error:  # a mistake in the assistant's rule must not cost the turn its dead letter
        raise_if_ours(error)
        log.exception("last_resort.failed", turn_id=turn.turn_id, conversation_id=turn.conversation_id)
        return None
