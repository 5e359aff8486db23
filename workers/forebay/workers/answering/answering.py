"""Answering: from one inbound record to what is published for it. `Answering.answer` is the list of steps."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from forebay.schemas import (
    ONLY,
    Failure,
    ModelState,
    Reason,
    Spending,
    Turn,
    WhenBusy,
    identity,
    replayed,
)
from forebay.telemetry import tracing
from forebay.workers.assistants import Assistant
from forebay.workers.assistants.asking_for_person import person_wanted
from forebay.workers.assistants.faq_file import FaqFile
from forebay.workers.assistants.routing import Routing
from forebay.workers.conversations import Exchange, Store
from forebay.workers.conversations.claims import Claims
from forebay.workers.engine.inbound import InboundRecord
from forebay.workers.engine.publication import Publication
from forebay.workers.engine.turn_group import Interrupted, TurnGroup
from forebay.workers.flow.budget import Budget, Ceilings
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.hedge import Hedge
from forebay.workers.flow.retry import RetryPolicy
from forebay.workers.mistakes import MISTAKES, raise_if_ours

from . import replies
from .actions import Actions
from .deltas import DeltaStream
from .model_call import ModelCalls
from .recording import Recording
from .rounds import Rounds
from .summariser import Summariser
from .turn_context import AnsweredMeanwhile, Effort, Expired, GaveUp, Member, TurnContext, TurnEnding
from .turn_store import TurnStore
from .without_model import ending_without_model, to_a_person

log = structlog.get_logger()

_NOTHING_SAID = "[The customer stopped this answer.]"
"""What a model reads of an answer that was stopped before a word of it, where tools had run."""


class Answering:
    """Answers turns with one assistant."""

    def __init__(
        self,
        *,
        assistant: Assistant,
        routing: Routing,
        chain: Chain,
        store: Store,
        turn_ttl_s: float,
        deltas: Callable[[Turn], DeltaStream],
        worker: str,
        faq: FaqFile | None = None,
        retry: RetryPolicy = RetryPolicy(),
        budget: Budget | None = None,
        hedge: Hedge | None = None,
    ) -> None:
        """``worker`` is a name that no other process has."""
        self._assistant, self._faq, self._chain, self._turn_ttl_s = assistant, faq, chain, turn_ttl_s
        self._budget = budget or Budget(Ceilings())
        self._store = TurnStore(store, self._budget, assistant.window.exchanges)
        self._claims = Claims(store, worker)
        calls = ModelCalls(chain, self._budget, retry, hedge, self._store)
        self._rounds = Rounds(assistant, routing, chain, calls, deltas)
        self._actions = Actions(assistant, routing, self._rounds, self._store)
        self._summariser = Summariser(assistant, chain, store)
        self._recording = Recording(self._store, self._budget, self._summariser)
        self._drop = store.drop

    async def close(self) -> None:
        """Ends what goes on beside the turns. The store is still open then."""
        await self._summariser.close()
        await self._claims.close()

    def ready(self) -> str | None:
        """Why no turn can be answered now, or None."""
        return self._store.away or self._chain.unavailable()

    def drop(self, conversation_id: str) -> None:
        """Holds nothing of an erased conversation in memory."""
        self._drop(conversation_id)

    def permits(self) -> int:
        """How many turns the providers are believed to take at once."""
        return self._chain.limit

    def models(self) -> tuple[ModelState, ...]:
        """State of every upstream."""
        return self._chain.models()

    def spending(self) -> Spending:
        """What was spent in this hour and day."""
        return self._budget.spending(time.time())

    @property
    def when_busy(self) -> WhenBusy:
        """The assistant's own rule."""
        return self._assistant.when_busy

    async def answer(self, group: TurnGroup) -> list[Publication]:
        """The turns of a group, from their stored past to their stored replies. Never raises for what a turn or the model
        did.
        """
        if (failure := group.turns[0].failure) is not None:
            return [await self._refused(group, failure)]
        context = self._context(group)
        recorded = False
        try:
            while True:
                self._join(context)
                await self._store.load(context)
                if not context.open:
                    recorded = all(member.standing and member.standing.final for member in context.members)
                    return self._recording.again(context)
                try:
                    ending = await self._ending(context)
                    context.permit.give_back()
                    publications = await self._recording.record(context, ending)
                except AnsweredMeanwhile:  # the next attempt finds its reply
                    self._end_claims(context, recorded=False)
                    await context.permit.regain()
                except Interrupted:  # asked again, for those that are wanted now
                    group.absorb()
                    await context.permit.regain()
                else:
                    recorded = True
                    return publications
        finally:
            self._end_claims(context, recorded=recorded)

    def _context(self, group: TurnGroup) -> TurnContext:
        first = self._member(group.turns[0])
        effort = Effort(first.inbound.timestamp, time.time())
        scopes = self._budget.ceilings.scopes(first.turn.tenant)
        context = TurnContext(first.turn, group, effort, scopes=scopes, redactor=self._assistant.redaction)
        context.members = [first]
        return context

    def _member(self, inbound: InboundRecord) -> Member:
        turn = inbound.decode()
        return Member(inbound, turn, inbound.deadline(self._turn_ttl_s, turn), replayed(inbound.headers))

    def _join(self, context: TurnContext) -> None:
        """Takes in the group's new turns, and claims what is not ours."""
        members = context.members
        members += [self._member(inbound) for inbound in context.group.turns[len(members) :]]
        context.open = [member for member in members if not member.standing]
        for member in context.open:
            if member.claim is None:
                member.claim = self._claims.begin(member.turn.conversation_id, member.turn.turn_id)
        last = members[-1].turn
        tracing.TURN.set((last.turn_id, last.conversation_id))

    def _end_claims(self, context: TurnContext, *, recorded: bool) -> None:
        for member in context.members:
            if member.claim is not None:
                self._claims.end(member.claim, recorded=recorded)
                member.claim = None

    async def _ending(self, context: TurnContext) -> TurnEnding:
        """How the turns end, whatever a model or the user's code does. Raises AnsweredMeanwhile, or Interrupted when the
        group has changed.
        """
        group, open_turns = context.group, context.open
        wanted = [member for member in open_turns if not self._over(context, member)]
        context.answer_to(wanted or open_turns)
        if group.refused:
            return TurnEnding(replies.busy(context))
        if not wanted:
            return TurnEnding(replies.cancelled(context, ""))
        if context.past.conversation.summary_usd:
            self._budget.reserve(context.scopes, context.effort.owes(context.past.conversation.owed_usd))
        try:
            return await self._decide(context)
        except AnsweredMeanwhile:
            raise
        except Interrupted:
            if all(group.cancelled(member.inbound) for member in context.wanted):
                return self._broken_off(context)
            raise
        except Expired:
            return TurnEnding(replies.expired(context))
        except GaveUp as error:
            failure = error.failure
        except MISTAKES as error:
            raise_if_ours(error)
            turn, attempts = context.turn, context.effort.attempts
            log.exception("turn.handler_error", turn_id=turn.turn_id, conversation_id=turn.conversation_id)
            failure = Failure(Reason.HANDLER_ERROR, f"{type(error).__name__}: {error}", attempts)
        return ending_without_model(context, self._assistant, failure)

    def _over(self, context: TurnContext, member: Member) -> bool:
        """Whether nobody wants an answer to this turn any more."""
        erased_at = context.past.erased_at
        if erased_at is not None and member.inbound.timestamp / 1000 < erased_at:
            return True
        return context.group.cancelled(member.inbound) and not self._begun(context, member)

    @staticmethod
    def _begun(context: TurnContext, member: Member) -> bool:
        """Whether the turn has begun to carry out an action that the customer confirmed: that is never left half done."""
        pending = context.past.conversation.state.pending
        return pending is not None and pending.turn_id == member.turn.turn_id

    @staticmethod
    def _broken_off(context: TurnContext) -> TurnEnding:
        """Nobody wants the answer any more: what the customer saw of it, and what tools did, is remembered."""
        partial = context.partial
        reply = replies.cancelled(context, context.pseudonyms.restore(partial.answer) if partial else "")
        if partial is None or not (partial.answer or partial.steps):
            return TurnEnding(reply)
        kept = partial._replace(answer=partial.answer or _NOTHING_SAID)
        return TurnEnding(reply, kept, context.state_after({"failures": context.state.failures}))

    async def _decide(self, context: TurnContext) -> TurnEnding:
        """Who answers: a person, the customer's word on an action, the FAQ, and a model last, since it costs most."""
        turn, conversation = context.turn, context.past.conversation
        if conversation.handed_off:
            return to_a_person(context, conversation.handed_off)
        if context.deadline <= time.time() and not self._begun(context, context.wanted[-1]):
            raise Expired
        if turn.confirm is not None:
            return await self._actions.confirmed(context)
        if self._assistant.hand_off and (reason := person_wanted(self._assistant.hand_off, turn)):
            return to_a_person(context, reason)
        if self._faq and (found := self._faq.current(time.monotonic()).answer(turn.text)):
            exchange = Exchange(context.pseudonyms.hide(turn.text), found.text)
            return TurnEnding(replies.by_rule(context, found.text), exchange, context.state_after())
        if turn.attributes.get(ONLY) == "faq":
            raise Expired  # a frontend saw that it would be, before a model came to it
        return await self._rounds.answer(context)

    async def _refused(self, group: TurnGroup, failure: Failure) -> Publication:
        """A record that is no turn is a dead letter; whoever waits for it is told, where that can be read."""
        inbound = group.turns[0]
        ids = identity(inbound.value)
        if ids is None:
            return Publication(None, failure, "", "failed")
        tracing.TURN.set(ids)
        turn = Turn.model_construct(turn_id=ids[0], conversation_id=ids[1], text="")
        effort = Effort(inbound.timestamp, time.time())
        scopes = self._budget.ceilings.scopes(turn.tenant)
        context = TurnContext(turn, group, effort, effort.started, scopes)
        (publication,) = await self._recording.record(
            context, TurnEnding(replies.failed(context, failure), failure=failure)
        )
        return publication._replace(failure=failure)  # the record is a dead letter even where its turn has an answer
