"""Rounds: asks a model, runs the tools that it wants and asks again, until it answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from forebay.schemas import Action, Reason, Turn
from forebay.workers.assistants import Assistant, Signals
from forebay.workers.assistants.confirmations import customer_of, proposed
from forebay.workers.assistants.routing import HAND_OFF, Route, Routing
from forebay.workers.assistants.toolbox import Allowance
from forebay.workers.conversations import Exchange, Pending
from forebay.workers.conversations.window import Fitted, fit, said_with
from forebay.workers.engine.turn_group import Interrupted
from forebay.workers.flow.chain import Chain, Order
from forebay.workers.messages import Message, ToolCall, ToolResult
from forebay.workers.models import Completion, Prompt

from . import replies
from .deltas import DeltaStream
from .model_call import ModelCall, ModelCalls
from .pseudonyms import RestoredDeltas
from .turn_context import GaveUp, TurnContext, TurnEnding
from .without_model import to_a_person


class Rounds:
    """Answers turns by models, for one assistant."""

    def __init__(
        self,
        assistant: Assistant,
        routing: Routing,
        chain: Chain,
        calls: ModelCalls,
        deltas: Callable[[Turn], DeltaStream],
    ) -> None:
        self._assistant, self._routing, self._chain = assistant, routing, chain
        self._calls, self._deltas = calls, deltas

    async def answer(self, context: TurnContext) -> TurnEnding:
        """A model's answer to what the customer says. Raises Expired, GaveUp or AnsweredMeanwhile."""
        turn, state = context.turn, context.state
        route = self._routing.route(turn.text, state.specialist)
        grade = self._assistant.complexity(
            Signals(
                text=turn.text,
                exchanges=context.past.conversation.exchanges,
                tools=len(route.tools),
                failures=state.failures,
            )
        )
        said = Message("user", context.pseudonyms.hide(turn.text))
        model = route.model or self._assistant.models.get(grade)
        return await self.answer_to((said,), context, route.graded(grade), model)

    async def answer_to(
        self, now: tuple[Message, ...], context: TurnContext, route: Route, model: str | None
    ) -> TurnEnding:
        """The same for what is said ``now``, after the past, by the default model where ``model`` is None."""
        order = self._chain.order(model) if model else self._chain.default
        fitted = self._fit(context, order)
        context.effort.left_out_bytes = fitted.left_out
        stream = self._stream(context) if context.turn.stream else None
        call = ModelCall(context, self._prompt(context, route, fitted, now), order, stream)
        left: Allowance | None = None
        steps = now[1:]
        while True:
            try:
                completion = await self._calls.completion(call)
            except Interrupted:
                context.partial = Exchange(now[0].text, call.said, steps)
                raise
            if completion.session:
                context.use_session(*completion.session)
            if not completion.calls:
                break
            left = left or Allowance(self._assistant.tool_limits)
            ended = await self._round(context, route, call, completion, left)
            if isinstance(ended, TurnEnding):
                return ended
            steps += ended
        text = _text(completion, context)
        shown = context.pseudonyms.restore(text)
        reply = replies.answered(context, shown, route.label, call.model, completion.finish_reason)
        state = context.state_after({"specialist": route.name})
        return TurnEnding(reply, Exchange(now[0].text, text, steps), state, summarise_to=fitted.summarise_to)

    def _stream(self, context: TurnContext) -> RestoredDeltas:
        """What shows the answer as it comes; begun anew where another call of this turn was broken off."""
        turn = context.turn
        if begun := context.streams.get(turn.turn_id):
            begun.restart()
        deltas = context.streams.setdefault(turn.turn_id, begun or self._deltas(turn))
        return RestoredDeltas(deltas, context.pseudonyms)

    async def _round(
        self, context: TurnContext, route: Route, call: ModelCall, completion: Completion, left: Allowance
    ) -> TurnEnding | tuple[Message, ...]:
        """Runs the tools that a completion asks for; gives what the model is told then, or how that ends the turn."""
        call.restart()
        asked = context.pseudonyms.restore_calls(completion.calls)
        known = await self._ending(context, route, call, completion, asked)
        if isinstance(known, TurnEnding):
            return known
        if not call.prompt.may_call:
            raise GaveUp(Reason.REJECTED_BY_MODEL, "it asks for tools without end", context.effort.attempts)
        context.permit.give_back()
        if not route.toolbox.only_read(asked):
            context.group.committed = True
        results = await route.toolbox.run(asked, customer_of(context.turn), left, known)
        results = context.pseudonyms.hide_results(results)
        results = tuple(result._replace(text=left.cut(result.text)) for result in results)
        await context.permit.regain()
        told = Message("assistant", completion.text, completion.calls), Message("tool", results=results)
        call.prompt = replace(
            call.prompt.following(*told),
            may_call=left.rounds > 0 and left.seconds > 0,
            sessions=context.state.sessions,
        )
        return told

    async def _ending(
        self, context: TurnContext, route: Route, call: ModelCall, completion: Completion, asked: tuple[ToolCall, ...]
    ) -> TurnEnding | ToolResult | None:
        """A round that ends the turn: a person is wanted, or the customer's word; or what cannot be done, for the model."""
        pseudonyms = context.pseudonyms
        if any(one.name == HAND_OFF for one in asked) and route.hands_off:
            said = pseudonyms.restore(completion.text).strip() or None
            return to_a_person(context, "by_model", said)
        pending = await proposed(asked, context.turn, route.toolbox, self._assistant.confirm_s, time.time())
        if not isinstance(pending, Pending):
            return pending
        pending = pending.model_copy(update={"specialist": route.name})
        action = Action.model_construct(
            action_id=pending.action_id,
            summary=pending.summary,
            expires_at=datetime.fromtimestamp(pending.expires_at, UTC),
        )
        reply = replies.confirmation(context, action, route.label, call.model)
        exchange = Exchange(pseudonyms.hide(context.turn.text or pending.summary), pseudonyms.hide(pending.summary))
        return TurnEnding(reply, exchange, context.state_after({"specialist": route.name, "pending": pending}))

    def _fit(self, context: TurnContext, order: Order) -> Fitted:
        if not context.past.conversation.exchanges:
            return Fitted((), 0, 0)
        window = self._assistant.window
        size, bytes_a_token = self._chain.window_of(order)
        room = min(window.tokens, window.share * size) * bytes_a_token - len(context.summary.encode())
        return fit(context.history, context.past.conversation, window, int(room))

    def _prompt(self, context: TurnContext, route: Route, fitted: Fitted, now: tuple[Message, ...]) -> Prompt:
        messages = (*fitted.messages, *now)
        if context.summary:
            messages = said_with(context.summary, messages)
        sessions = context.state.sessions
        return Prompt(route.instructions, messages, self._assistant.max_tokens, route.tools, sessions=sessions)


def _text(completion: Completion, context: TurnContext) -> str:
    if not completion.text.strip():
        why = f"an empty answer ({completion.finish_reason})"
        raise GaveUp(Reason.REJECTED_BY_MODEL, why, context.effort.attempts)
    return completion.text
