"""Answering: from one inbound record to what is published for it. `Answering.answer` is the list of steps."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from forebay.schemas import (
    ONLY,
    Failure,
    Headers,
    ModelState,
    Reason,
    Reply,
    Spending,
    Turn,
    decode_reply,
    encode,
    identity,
    replayed,
)
from forebay.schemas import headers as names
from forebay.telemetry import tracing
from forebay.workers import metrics
from forebay.workers.assistants import Assistant
from forebay.workers.assistants.asking_for_person import person_wanted
from forebay.workers.assistants.faq_file import FaqFile
from forebay.workers.assistants.routing import Routing
from forebay.workers.conversations import Exchange, Store, StoredReply
from forebay.workers.conversations.claims import Claims
from forebay.workers.engine.inbound import InboundRecord
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.publication import Publication
from forebay.workers.flow.budget import Budget, Ceilings
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.hedge import Hedge
from forebay.workers.flow.retry import RetryPolicy
from forebay.workers.mistakes import MISTAKES, raise_if_ours

from . import replies
from .actions import Actions
from .deltas import DeltaStream
from .model_call import ModelCalls
from .rounds import Rounds
from .summariser import Summariser
from .turn_context import AnsweredMeanwhile, Effort, Expired, GaveUp, TurnContext, TurnEnding
from .turn_store import TurnStore
from .without_model import ending_without_model

log = structlog.get_logger()

MAX_REPLY_BYTES = 1_000_000
"""Larger replies would not fit Kafka's default record size with their headers."""


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

    async def close(self) -> None:
        """Ends what goes on beside the turns. The store is still open then."""
        await self._summariser.close()
        await self._claims.close()

    def ready(self) -> str | None:
        """Why no turn can be answered now, or None."""
        return self._store.away or self._chain.unavailable()

    def permits(self) -> int:
        """How many turns the providers are believed to take at once."""
        return self._chain.limit

    def models(self) -> tuple[ModelState, ...]:
        """State of every upstream."""
        return self._chain.models()

    def spending(self) -> Spending:
        """What was spent in this hour and day."""
        return self._budget.spending(time.time())

    async def answer(self, inbound: InboundRecord, permit: Permit) -> Publication:
        """One turn, from its stored past to its stored reply. Never raises for what the turn or the model did."""
        if inbound.failure is not None:
            return await self._refuse(inbound, inbound.failure, permit)
        context = self._context(inbound, permit)
        while True:
            recorded = False
            context.claim = self._claims.begin(context.turn.conversation_id, context.turn.turn_id)
            try:
                await self._store.load(context)
                if standing := context.standing:
                    recorded = standing.final
                    return self._published_again(context, standing)
                ending = await self._ending(context)
                permit.give_back()
                publication = await self._record(context, ending)
                recorded = True
            except AnsweredMeanwhile:
                publication = None  # the next attempt finds its reply
            finally:
                self._claims.end(context.claim, recorded=recorded)
            if publication is not None:
                return publication
            await permit.regain()

    def _context(self, inbound: InboundRecord, permit: Permit) -> TurnContext:
        turn = inbound.decode()
        tracing.TURN.set((turn.turn_id, turn.conversation_id))
        return TurnContext(
            turn,
            permit,
            Effort(inbound.timestamp, time.time()),
            inbound.deadline(self._turn_ttl_s, turn),
            self._budget.ceilings.scopes(turn.tenant),
            replayed(inbound.headers),
            self._assistant.redaction,
        )

    async def _ending(self, context: TurnContext) -> TurnEnding:
        """How the turn ends, whatever a model or the user's code does. Raises AnsweredMeanwhile."""
        if context.past.conversation.summary_usd:
            self._budget.reserve(context.scopes, context.effort.owes(context.past.conversation.owed_usd))
        try:
            return await self._decide(context)
        except AnsweredMeanwhile:
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

    async def _decide(self, context: TurnContext) -> TurnEnding:
        """Who answers: a person, the customer's word on an action, the FAQ, and a model last, since it costs most."""
        turn, conversation = context.turn, context.past.conversation
        if conversation.handed_off:
            return TurnEnding(replies.handed_off(context, conversation.handed_off))
        begun = conversation.state.pending is not None and conversation.state.pending.turn_id == turn.turn_id
        if context.deadline <= time.time() and not begun:
            raise Expired
        if turn.confirm is not None:
            return await self._actions.confirmed(context)
        if self._assistant.hand_off and (reason := person_wanted(self._assistant.hand_off, turn)):
            return TurnEnding(replies.handed_off(context, reason), hand_off=reason)
        if self._faq and (found := self._faq.current(time.monotonic()).answer(turn.text)):
            exchange = Exchange(context.pseudonyms.hide(turn.text), found.text)
            return TurnEnding(replies.by_rule(context, found.text), exchange, context.state_after())
        if turn.attributes.get(ONLY) == "faq":
            raise Expired  # a frontend saw that it would be, before a model came to it
        return await self._rounds.answer(context)

    async def _record(self, context: TurnContext, ending: TurnEnding) -> Publication:
        """Stores the reply before anyone sees it; another worker's, if it was first, is the one that counts."""
        value, wrong = _encoded(ending.reply)
        if wrong:
            failure = Failure(Reason.HANDLER_ERROR, wrong, context.effort.attempts)
            ending = TurnEnding(replies.failed(context, failure), failure=failure)
            value = encode(ending.reply)
        stored = await self._store.record(context, ending, value)
        if ending.summarise_to:
            self._summariser.begin(context.turn.conversation_id, context.past, ending.summarise_to)
        left_out = context.effort.left_out_bytes * context.effort.attempts
        metrics.LEFT_OUT.inc(left_out)
        return _publication(context, stored, ending.failure if stored.value == value else None, left_out)

    def _published_again(self, context: TurnContext, stored: StoredReply) -> Publication:
        """The reply that the turn has already; its dead letter may not have been published before a crash."""
        # What was spent by an attempt that came to nothing.
        self._budget.recorded(context.scopes, context.effort.cost_usd, time.time())
        return _publication(context, stored, _failure_of(stored))

    async def _refuse(self, inbound: InboundRecord, failure: Failure, permit: Permit) -> Publication:
        """A record that is no turn is a dead letter; whoever waits for it is told, where that can be read."""
        ids = identity(inbound.value)
        if ids is None:
            return Publication(None, failure, "", "failed")
        tracing.TURN.set(ids)
        turn = Turn.model_construct(turn_id=ids[0], conversation_id=ids[1], text="")
        effort = Effort(inbound.timestamp, time.time())
        scopes = self._budget.ceilings.scopes(turn.tenant)
        context = TurnContext(turn, permit, effort, effort.started, scopes, replayed(inbound.headers))
        publication = await self._record(context, TurnEnding(replies.failed(context, failure), failure=failure))
        return publication._replace(failure=failure)  # the record is a dead letter even where its turn has an answer


def _publication(
    context: TurnContext, stored: StoredReply, failure: Failure | None, left_out_bytes: int = 0
) -> Publication:
    """What to publish for a turn whose reply is stored."""
    turn = context.turn
    headers: Headers = ((names.TENANT, turn.tenant.encode()),) if turn.tenant else ()
    if left_out_bytes:
        headers += ((names.LEFT_OUT, b"%d" % left_out_bytes),)
    transcript = None
    if stored.outcome == "handed_off":
        transcript = encode(replies.handoff(turn, decode_reply(stored.value), context.shown_history()))
    return Publication(stored.value, failure, turn.conversation_id, stored.outcome, transcript, headers)


def _encoded(reply: Reply) -> tuple[bytes, str]:
    """(the reply's bytes, why it is none that can be published: what the assistant's own code returned is not checked)."""
    try:
        if reply.model is None:  # its text comes from the assistant's own code
            Reply.model_validate(dict(reply))
        value = encode(reply)
    except (TypeError, ValueError) as error:
        return b"", f"the reply is no text: {error}"
    if len(value) > MAX_REPLY_BYTES:
        return b"", f"the reply has {len(value):,} bytes, more than a record takes"
    return value, ""


def _failure_of(stored: StoredReply) -> Failure | None:
    """The failure in a stored reply."""
    if stored.outcome != "failed":
        return None
    reply = decode_reply(stored.value)
    assert reply.error is not None
    return Failure(Reason(reply.error.code), reply.error.message, reply.attempts)
