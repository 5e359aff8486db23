"""Actions: what the customer's word on one leads to, as a turn's ending. `assistants.confirmations` decides which it is."""

from __future__ import annotations

import time

import structlog

from forebay.schemas import Reason
from forebay.workers.assistants import Assistant, IdempotencyKey, ToolError
from forebay.workers.assistants.confirmations import customer_of, verdict
from forebay.workers.assistants.routing import Route, Routing
from forebay.workers.assistants.toolbox import Allowance
from forebay.workers.assistants.tools import Tool
from forebay.workers.conversations import Exchange, Pending
from forebay.workers.engine.turn_group import Interrupted
from forebay.workers.messages import Message, ToolCall, ToolResult
from forebay.workers.mistakes import MISTAKES, raise_if_ours

from . import replies
from .rounds import Rounds
from .turn_context import AnsweredMeanwhile, GaveUp, TurnContext, TurnEnding
from .turn_store import TurnStore

log = structlog.get_logger()


class Actions:
    """Runs or drops what waits for the customer's word, for one assistant."""

    def __init__(self, assistant: Assistant, routing: Routing, rounds: Rounds, store: TurnStore) -> None:
        self._assistant, self._routing, self._rounds, self._store = assistant, routing, rounds, store

    async def confirmed(self, context: TurnContext) -> TurnEnding:
        """The customer has said yes or no. Raises GaveUp for an action that is not theirs, or AnsweredMeanwhile."""
        turn = context.turn
        word, action = verdict(context.state, turn, time.time())
        route = self._routing.named(action.specialist if action else None)
        tool = route.toolbox.find(action.tool) if action else None
        if action is None or (tool is None and word in ("run", "run_again")):
            wanted = turn.confirm.action_id if turn.confirm else ""
            raise GaveUp(Reason.UNKNOWN_ACTION, f"no action {wanted!r} is pending in this conversation")
        if word == "late" or word == "repeated":
            return _told(context, route, action, word)
        if word == "declined":
            return _told(context, route, action, "declined", pending=None, settled=action)
        try:
            if tool is not None and word != "tell":
                action = await self._run(context, tool, route, action)
        except TimeoutError:  # whether it was carried out nobody knows
            unknown = _told(context, route, action, "unknown", pending=None, settled=action)
            reply = replies.handed_off(context, "unknown_outcome", unknown.reply.text)
            return unknown._replace(reply=reply, exchange=None, hand_off="unknown_outcome")
        context.state = settled = context.state.model_copy(update={"pending": None, "settled": action})
        try:
            return await self._rounds.answer_to(_as_said(context, action), context, route, route.model)
        except AnsweredMeanwhile:
            raise
        except Interrupted:  # the customer has stopped the telling; the action has run all the same
            context.state = settled
            return _told(context, route, action, "failed" if action.failed else "done")
        except MISTAKES as error:  # the action has run: the customer must hear of it, by whatever words
            raise_if_ours(error)
            log.warning("action.told_without_a_model", turn_id=turn.turn_id, error=repr(error))
            context.state = settled
            return _told(context, route, action, "failed" if action.failed else "done")

    async def _run(self, context: TurnContext, tool: Tool, route: Route, action: Pending) -> Pending:
        """Runs an action and keeps first that it begins, then what it returned: a crash between is noticed.

        Raises TimeoutError when it does not end, or was begun before and may not be run twice.
        """
        turn, state, pseudonyms = context.turn, context.state, context.pseudonyms
        if action.turn_id is not None and not tool.takes_key:
            raise TimeoutError(action.tool)
        try:
            arguments = tool.check(action.arguments)
        except ToolError as error:  # it takes other ones than when the customer was asked
            return action.model_copy(update={"turn_id": turn.turn_id, "result": f"error: {error}", "failed": True})
        action = action.model_copy(update={"turn_id": turn.turn_id})
        await self._store.save_state(context, state.model_copy(update={"pending": action}))
        context.permit.give_back()
        key, seconds = IdempotencyKey(action.action_id), self._assistant.tool_limits.seconds
        result = await route.toolbox.perform(tool, action.action_id, arguments, customer_of(turn), key, seconds)
        told = Allowance(self._assistant.tool_limits).cut(pseudonyms.hide_json(result.text))
        action = action.model_copy(update={"result": told, "failed": result.failed})
        kept = {"pending": action, "vault": pseudonyms.vault.to_json()}
        await self._store.save_state(context, state.model_copy(update=kept))
        await context.permit.regain()
        return action


def _told(
    context: TurnContext, route: Route, action: Pending, outcome: replies.Settled, **changes: object
) -> TurnEnding:
    """What the customer is told of an action without a model."""
    text, pseudonyms = replies.settled(action.summary, outcome), context.pseudonyms
    exchange = Exchange(pseudonyms.hide(context.turn.text or action.summary), pseudonyms.hide(text))
    return TurnEnding(replies.by_rule(context, text, route.label), exchange, context.state_after(changes))


def _as_said(context: TurnContext, action: Pending) -> tuple[Message, ...]:
    """A confirmed action as a model reads of it: the customer's word, the call, and what came of it."""
    pseudonyms, text = context.pseudonyms, context.turn.text
    word = f"[The customer has confirmed: {pseudonyms.hide(action.summary)}]"
    call = ToolCall(action.action_id, action.tool, pseudonyms.hide_json(action.arguments))
    return (
        Message("user", f"{word}\n{pseudonyms.hide(text)}" if text else word),
        Message("assistant", "", (call,)),
        Message("tool", results=(ToolResult(action.action_id, action.result or "", action.failed),)),
    )
