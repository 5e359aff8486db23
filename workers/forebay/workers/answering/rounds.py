"""Responding: from a turn and its conversation's past to what is said, by whom, and what is to be remembered of it.

`Responder.respond` asks the cheap ones first: a person who has taken over, the customer's word on an action, a wish for a
person, the FAQ; then a model, in as many rounds of tools as the limits allow.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from forebay.schemas import ONLY, Action, Reason, Reply, Turn
from forebay.workers.assistants import Assistant, IdempotencyKey, Signals
from forebay.workers.assistants.asking_for_person import asks_for_person
from forebay.workers.assistants.confirmations import customer_of, proposed, verdict
from forebay.workers.assistants.faq_matching import FaqFile
from forebay.workers.assistants.routing import HAND_OFF, Desk, Staff
from forebay.workers.assistants.toolbox import Allowance
from forebay.workers.assistants.tools import Tool, ToolError
from forebay.workers.conversations import Exchange, Loaded, Pending, State
from forebay.workers.conversations.window import Fitted, fit, said_with
from forebay.workers.engine.permit import Permit
from forebay.workers.flow.chain import Chain, Order
from forebay.workers.mistakes import MISTAKES, raise_if_ours
from forebay.workers.models import Completion, Message, Prompt, ToolCall, ToolResult

from .deltas import DeltaStream
from .model_call import AnsweredMeanwhile, Asked, Asking, Expired, GaveUp, Question
from .pseudonyms import Disguise, ShownDeltas
from .replies import Effort, Settled, answered, by_rule, confirmation, handed_off, settled

log = structlog.get_logger()

_SESSIONS = 8
"""That are kept of a conversation: with other instructions or tools a provider makes new ones."""


class Response(NamedTuple):
    """What a turn comes to."""

    reply: Reply
    exchange: Exchange | None = None
    """To be remembered, as models may read it."""
    state: State | None = None
    """The conversation's from now on; None leaves it."""
    hand_off: str | None = None
    """Why a person takes over from now on."""
    summarise_to: int = 0
    """How many exchanges a summary should cover; 0 when none is due."""


class Way(NamedTuple):
    """What one turn needs on its way."""

    turn: Turn
    loaded: Loaded
    effort: Effort
    deadline: float
    """Seconds since the epoch."""
    permit: Permit
    ask: Callable[[Prompt, ShownDeltas | None, Order], Question]
    """Makes the question from a prompt, with the turn's deadline and budgets."""
    keep: Callable[[State], Awaitable[None]]
    """Stores the conversation's state before the turn has ended."""

    def with_state(self, state: State) -> Way:
        """The same after a change."""
        conversation = self.loaded.conversation._replace(state=state)
        return self._replace(loaded=self.loaded._replace(conversation=conversation))

    def with_session(self, agent: str, session: str) -> Way:
        """The same with what a provider keeps of the conversation."""
        state = self.loaded.conversation.state
        latest = dict([*state.sessions.items(), (agent, session)][-_SESSIONS:])
        return self.with_state(state.model_copy(update={"sessions": latest}))


class Responder:
    """Responds for one assistant."""

    def __init__(
        self,
        assistant: Assistant,
        staff: Staff,
        faq: FaqFile | None,
        chain: Chain,
        asking: Asking,
        deltas: Callable[[Turn], DeltaStream],
    ) -> None:
        self._assistant, self._staff, self._faq = assistant, staff, faq
        self._chain, self._asking, self._deltas = chain, asking, deltas

    async def respond(self, way: Way) -> Response:
        """What this turn comes to. Raises Expired, GaveUp, AnsweredMeanwhile, and whatever the user's own code does."""
        turn, effort, conversation = way.turn, way.effort, way.loaded.conversation
        if conversation.handed_off:
            return Response(handed_off(turn, effort, conversation.handed_off))
        begun = conversation.state.pending is not None and conversation.state.pending.turn_id == turn.turn_id
        if way.deadline <= time.time() and not begun:
            raise Expired
        if turn.confirm is not None:
            return await self._confirmed(way)
        if reason := self._person_wanted(turn):
            return Response(handed_off(turn, effort, reason), hand_off=reason)
        if self._faq and (found := self._faq.current(time.monotonic()).answer(turn.text)):
            disguise = self._disguise(way)
            exchange = Exchange(disguise.hide(turn.text), found.text)
            return Response(by_rule(turn, effort, found.text), exchange, _state(way, disguise, None))
        if turn.attributes.get(ONLY) == "faq":
            raise Expired  # a frontend saw that it would be, before a model came to it
        return await self._by_model(way)

    def _person_wanted(self, turn: Turn) -> str | None:
        rules = self._assistant.hand_off
        if rules is None:
            return None
        if rules.on_request and asks_for_person(turn.text):
            return "asked_for"
        return "rule" if rules.when is not None and rules.when(turn) else None

    async def _by_model(self, way: Way) -> Response:
        turn, state = way.turn, way.loaded.conversation.state
        desk = self._staff.desk(turn.text, state.specialist)
        grade = self._assistant.complexity(
            Signals(
                text=turn.text,
                exchanges=way.loaded.conversation.exchanges,
                tools=len(desk.tools),
                failures=state.failures,
            )
        )
        route = desk.name or grade
        disguise = self._disguise(way)
        said = Message("user", disguise.hide(turn.text))
        model = desk.model or self._assistant.models.get(grade)
        return await self._rounds(way, desk, route, disguise, (said,), self._chain.order(*_names(model)))

    async def _rounds(
        self,
        way: Way,
        desk: Desk,
        route: str,
        disguise: Disguise,
        now: tuple[Message, ...],
        order: Order,
    ) -> Response:
        """Asks a model, runs the tools it wants and asks again, until it answers. ``now`` is what is said after the past."""
        turn, effort = way.turn, way.effort
        fitted = self._fit(way, order)
        effort.left_out_bytes = fitted.left_out
        deltas = ShownDeltas(self._deltas(turn), disguise) if turn.stream else None
        question = way.ask(self._prompt(way, desk, fitted, now), deltas, order)
        left, steps = Allowance(self._assistant.tool_limits), list(now[1:])
        while True:
            asked = await self._asking.ask(question, way.permit)
            if asked.completion.session:
                way = way.with_session(*asked.completion.session)
            if not asked.completion.calls:
                break
            if deltas:
                deltas.restart()
            calls = disguise.show_calls(asked.completion.calls)
            ended = await self._ending(way, desk, route, disguise, asked, calls)
            if isinstance(ended, Response):
                return ended
            if not question.prompt.may_call:
                raise GaveUp(Reason.REJECTED_BY_MODEL, "it asks for tools without end", effort.attempts)
            way.permit.give_back()
            results = disguise.hide_results(await desk.toolbox.run(calls, customer_of(turn), left, ended))
            results = tuple(result._replace(text=left.cut(result.text)) for result in results)
            await way.permit.regain()
            told = Message("assistant", asked.completion.text, asked.completion.calls), Message("tool", results=results)
            steps += told
            question.prompt = replace(
                question.prompt.following(*told),
                may_call=left.rounds > 0 and left.seconds > 0,
                sessions=way.loaded.conversation.state.sessions,
            )
        text = _text(asked.completion, effort)
        reply = answered(
            turn, effort, disguise.show(text), route, asked.upstream.model.name, asked.completion.finish_reason
        )
        state = _state(way, disguise, desk)
        return Response(reply, Exchange(now[0].text, text, tuple(steps)), state, summarise_to=fitted.summarise_to)

    async def _ending(
        self, way: Way, desk: Desk, route: str, disguise: Disguise, asked: Asked, calls: tuple[ToolCall, ...]
    ) -> Response | ToolResult | None:
        """A round that ends the turn: a person is wanted, or the customer's word; or what cannot be done, for the model."""
        turn, effort = way.turn, way.effort
        if any(call.name == HAND_OFF for call in calls) and desk.hands_off:
            said = disguise.show(asked.completion.text).strip() or None
            return Response(handed_off(turn, effort, "by_model", said), hand_off="by_model")
        pending = await proposed(calls, turn, desk.toolbox, self._assistant.confirm_s, time.time())
        if not isinstance(pending, Pending):
            return pending
        pending = pending.model_copy(update={"desk": desk.name})
        action = Action.model_construct(
            action_id=pending.action_id,
            summary=pending.summary,
            expires_at=datetime.fromtimestamp(pending.expires_at, UTC),
        )
        reply = confirmation(turn, effort, action, route, asked.upstream.model.name)
        exchange = Exchange(disguise.hide(turn.text or pending.summary), disguise.hide(pending.summary))
        return Response(reply, exchange, _state(way, disguise, desk, pending=pending))

    async def _confirmed(self, way: Way) -> Response:
        """The customer's word on an action."""
        turn, effort, state = way.turn, way.effort, way.loaded.conversation.state
        word, action = verdict(state, turn, time.time())
        desk = self._staff.named(action.desk if action else None)
        tool = desk.toolbox.find(action.tool) if action else None
        if action is None or (tool is None and word in ("run", "run_again")):
            wanted = turn.confirm.action_id if turn.confirm else ""
            raise GaveUp(Reason.UNKNOWN_ACTION, f"no action {wanted!r} is pending in this conversation")
        disguise = self._disguise(way)
        if word == "late" or word == "repeated":
            return _told(way, disguise, desk, action, word)
        if word == "declined":
            return _told(way, disguise, desk, action, "declined", pending=None, settled=action)
        try:
            if tool is not None and word != "tell":
                action = await self._run(way, tool, desk, action, disguise)
        except TimeoutError:  # whether it was carried out nobody knows
            unknown = _told(way, disguise, desk, action, "unknown", pending=None, settled=action)
            reply = handed_off(turn, effort, "unknown_outcome", unknown.reply.text)
            return unknown._replace(reply=reply, exchange=None, hand_off="unknown_outcome")
        way = way.with_state(state.model_copy(update={"pending": None, "settled": action}))
        try:
            now = _as_said(action, turn.text, disguise)
            return await self._rounds(way, desk, desk.route, disguise, now, self._chain.order(*_names(desk.model)))
        except AnsweredMeanwhile:
            raise
        except MISTAKES as error:  # the action has run: the customer must hear of it, by whatever words
            raise_if_ours(error)
            log.warning("action.told_without_a_model", turn_id=turn.turn_id, error=repr(error))
            return _told(way, disguise, desk, action, "failed" if action.failed else "done")

    async def _run(self, way: Way, tool: Tool, desk: Desk, action: Pending, disguise: Disguise) -> Pending:
        """Runs an action and keeps first that it begins, then what it returned: a crash between is noticed.

        Raises TimeoutError when it does not end, or was begun before and may not be run twice.
        """
        turn, state = way.turn, way.loaded.conversation.state
        if action.turn_id is not None and not tool.takes_key:
            raise TimeoutError(action.tool)
        try:
            arguments = tool.check(action.arguments)
        except ToolError as error:  # it takes other ones than when the customer was asked
            return action.model_copy(update={"turn_id": turn.turn_id, "result": f"error: {error}", "failed": True})
        action = action.model_copy(update={"turn_id": turn.turn_id})
        await way.keep(state.model_copy(update={"pending": action}))
        way.permit.give_back()
        key, seconds = IdempotencyKey(action.action_id), self._assistant.tool_limits.seconds
        result = await desk.toolbox.perform(tool, action.action_id, arguments, customer_of(turn), key, seconds)
        told = Allowance(self._assistant.tool_limits).cut(disguise.hide_json(result.text))
        action = action.model_copy(update={"result": told, "failed": result.failed})
        await way.keep(state.model_copy(update={"pending": action, "vault": disguise.vault.to_json()}))
        await way.permit.regain()
        return action

    def _fit(self, way: Way, order: Order) -> Fitted:
        window = self._assistant.window
        context, bytes_a_token = self._chain.window_of(order)
        room = min(window.tokens, window.share * context) * bytes_a_token - len(
            way.loaded.conversation.summary.encode()
        )
        return fit(way.loaded.history, way.loaded.conversation, window, int(room))

    def _prompt(self, way: Way, desk: Desk, fitted: Fitted, now: tuple[Message, ...]) -> Prompt:
        messages = said_with(way.loaded.conversation.summary, (*fitted.messages, *now))
        sessions = way.loaded.conversation.state.sessions
        return Prompt(desk.instructions, messages, self._assistant.max_tokens, desk.tools, sessions=sessions)

    def _disguise(self, way: Way) -> Disguise:
        return Disguise(self._assistant.redaction, way.loaded.conversation.state.vault)


def _state(way: Way, disguise: Disguise, desk: Desk | None, **changes: object) -> State:
    """The conversation's state after a turn that went well."""
    state = way.loaded.conversation.state
    wanted: dict[str, object] = {"failures": 0, "vault": disguise.vault.to_json(), **changes}
    if desk is not None:
        wanted["specialist"] = desk.name
    if all(getattr(state, name) == value for name, value in wanted.items()):
        return state
    return state.model_copy(update=wanted)


def _told(way: Way, disguise: Disguise, desk: Desk, action: Pending, outcome: Settled, **changes: object) -> Response:
    """What the customer is told of an action without a model."""
    text = settled(action.summary, outcome)
    exchange = Exchange(disguise.hide(way.turn.text or action.summary), disguise.hide(text))
    return Response(by_rule(way.turn, way.effort, text, desk.route), exchange, _state(way, disguise, None, **changes))


def _as_said(action: Pending, text: str, disguise: Disguise) -> tuple[Message, ...]:
    """A confirmed action as a model reads of it: the customer's word, the call, and what came of it."""
    word = f"[The customer has confirmed: {disguise.hide(action.summary)}]"
    call = ToolCall(action.action_id, action.tool, disguise.hide_json(action.arguments))
    return (
        Message("user", f"{word}\n{disguise.hide(text)}" if text else word),
        Message("assistant", "", (call,)),
        Message("tool", results=(ToolResult(action.action_id, action.result or "", action.failed),)),
    )


def _text(completion: Completion, effort: Effort) -> str:
    if not completion.text.strip():
        raise GaveUp(Reason.REJECTED_BY_MODEL, f"an empty answer ({completion.finish_reason})", effort.attempts)
    return completion.text


def _names(model: str | None) -> tuple[str, ...]:
    return () if model is None else (model,)
