"""Answering: from one inbound record to what is published for it. `Answering.answer` reads as the list of steps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import structlog

from forebay.schemas import (
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
from forebay.workers import metrics, spans
from forebay.workers.assistants import Assistant
from forebay.workers.assistants.faq_matching import FaqFile
from forebay.workers.assistants.routing import Staff
from forebay.workers.conversations import Claim, Entry, Exchange, Loaded, State, Store, StoredReply, StoreError
from forebay.workers.conversations.claims import Claims
from forebay.workers.conversations.redaction import Vault, restore
from forebay.workers.engine.inbound import InboundRecord
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.publication import Publication
from forebay.workers.flow.budget import Budget, Ceilings
from forebay.workers.flow.chain import Chain, Order
from forebay.workers.flow.hedge import Hedge
from forebay.workers.flow.retry import RetryPolicy
from forebay.workers.mistakes import MISTAKES, raise_if_ours
from forebay.workers.models import Prompt

from .deltas import DeltaStream
from .model_call import AnsweredMeanwhile, Asking, Expired, GaveUp, Question
from .pseudonyms import Disguise, ShownDeltas
from .replies import Effort, by_rule, expired, failed, handed_off, handoff
from .rounds import Responder, Response, Way
from .summariser import Summariser

log = structlog.get_logger()

MAX_REPLY_BYTES = 1_000_000
"""Larger replies would not fit Kafka's default record size with their headers."""
_STORE_RETRY_S = 1.0
_CLAIM_LOOK_S = 0.5
"""Between two looks at a turn that another holds: it may be answered long before its claim ends."""

Result = TypeVar("Result")


class Answering:
    """Answers turns with one assistant."""

    def __init__(
        self,
        *,
        assistant: Assistant,
        staff: Staff,
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
        self._assistant = assistant
        self._chain = chain
        self._budget = budget or Budget(Ceilings())
        asking = Asking(chain, retry, self._budget, hedge)
        self._responder = Responder(assistant, staff, faq, chain, asking, deltas)
        self._store = store
        self._claims = Claims(store, worker)
        self._summariser = Summariser(assistant, chain, store)
        self._turn_ttl_s = turn_ttl_s
        self._store_away: str | None = None

    async def close(self) -> None:
        """Ends what goes on beside the turns. The store is still open then."""
        await self._summariser.close()
        await self._claims.close()

    def ready(self) -> str | None:
        """Why no turn can be answered now, or None."""
        return self._store_away or self._chain.unavailable()

    def permits(self) -> int:
        """How many turns the providers are believed to take at once."""
        return self._chain.limit

    def models(self) -> tuple[ModelState, ...]:
        """The models and how they are."""
        return self._chain.models()

    def spending(self) -> Spending:
        """What was spent in this hour and day."""
        return self._budget.spending(time.time())

    async def answer(self, inbound: InboundRecord, permit: Permit) -> Publication:
        """One turn, from its stored past to its stored reply. Never raises for what the turn or the model did."""
        effort = Effort(inbound.timestamp, time.time())
        if inbound.failure is not None:
            return await self._refuse(inbound, inbound.failure, effort, permit)
        turn = inbound.decode()
        tracing.TURN.set((turn.turn_id, turn.conversation_id))
        while (answer := await self._attempt(inbound, turn, effort, permit)) is None:
            await permit.regain()
        return answer

    async def _attempt(self, inbound: InboundRecord, turn: Turn, effort: Effort, permit: Permit) -> Publication | None:
        """The answer; None when another worker has the turn, or had it meanwhile: then its word is to be looked for."""
        claim, recorded = self._claims.begin(turn.conversation_id, turn.turn_id), False
        try:
            loaded = await self._claimed(inbound, turn, claim, permit)
            scopes = self._budget.ceilings.scopes(turn.tenant)
            if stored := _standing_reply(inbound, loaded):
                recorded = stored.final
                self._budget.recorded(scopes, effort.cost_usd, time.time())  # spent by an attempt that came to nothing
                return _publication(turn, stored, _failure_of(stored), loaded)
            self._budget.reserve(scopes, effort.owes(loaded.conversation.owed_usd))
            response, failure = await self._respond(inbound, turn, loaded, effort, claim, permit)
            permit.give_back()
            answer = await self._record(inbound, turn, effort, response, failure, permit, loaded)
            recorded = True
            if response.summarise_to:
                self._summariser.begin(turn.conversation_id, loaded, response.summarise_to)
        except AnsweredMeanwhile:
            return None
        else:
            return answer
        finally:
            self._claims.end(claim, recorded=recorded)

    async def _claimed(self, inbound: InboundRecord, turn: Turn, claim: Claim, permit: Permit) -> Loaded:
        """What is known of the turn, as soon as it is ours or has its reply: a worker that died may still hold it."""
        told = False
        while True:
            loaded = await self._patiently(lambda: self._load(turn, claim), permit)
            if not loaded.claimed_s or _standing_reply(inbound, loaded):
                return loaded
            if not told:
                log.info("turn.claimed_by_another", turn_id=turn.turn_id, seconds=round(loaded.claimed_s, 1))
                told = True
            permit.give_back()
            await asyncio.sleep(min(loaded.claimed_s, _CLAIM_LOOK_S))
            await permit.regain()

    async def _respond(
        self, inbound: InboundRecord, turn: Turn, loaded: Loaded, effort: Effort, claim: Claim, permit: Permit
    ) -> tuple[Response, Failure | None]:
        """What the turn comes to, and why it is a dead letter if it is one. Raises AnsweredMeanwhile."""
        deadline = inbound.deadline(self._turn_ttl_s, turn)
        scopes = self._budget.ceilings.scopes(turn.tenant)
        has_reply = partial(self._has_reply, inbound, turn, claim)

        def ask(prompt: Prompt, stream: ShownDeltas | None, order: Order) -> Question:
            return Question(turn, prompt, deadline, effort, stream, scopes, has_reply, order)

        kept = loaded.conversation.state

        async def keep(state: State) -> None:
            nonlocal kept
            if not await self._patiently(lambda: self._store.save_state(claim, state), permit):
                raise AnsweredMeanwhile
            kept = state

        try:
            return await self._responder.respond(Way(turn, loaded, effort, deadline, permit, ask, keep)), None
        except AnsweredMeanwhile:
            raise
        except Expired:
            return Response(expired(turn, effort)), None
        except GaveUp as error:
            failure = error.failure
        except MISTAKES as error:
            raise_if_ours(error)
            log.exception("turn.handler_error", turn_id=turn.turn_id, conversation_id=turn.conversation_id)
            failure = Failure(Reason.HANDLER_ERROR, f"{type(error).__name__}: {error}", effort.attempts)
        return self._otherwise(turn, effort, failure, kept)

    async def _refuse(self, inbound: InboundRecord, failure: Failure, effort: Effort, permit: Permit) -> Publication:
        """A record that is no turn is a dead letter; whoever waits for it is told, where that can be read."""
        names = identity(inbound.value)
        if names is None:
            return Publication(None, failure, "", "failed")
        tracing.TURN.set(names)
        turn = Turn.model_construct(turn_id=names[0], conversation_id=names[1], text="")
        response = Response(failed(turn, effort, failure))
        answer = await self._record(inbound, turn, effort, response, failure, permit, Loaded(None, ()))
        return answer._replace(failure=failure)  # the record is a dead letter even where its turn has an answer

    async def _load(self, turn: Turn, claim: Claim) -> Loaded:
        scopes = self._budget.ceilings.scopes(turn.tenant)
        most = self._assistant.window.exchanges
        with spans.store("load"):
            loaded = await self._store.load(turn.conversation_id, turn.turn_id, most, scopes, claim.owner)
        self._budget.learn(loaded.spent)
        return loaded

    async def _has_reply(self, inbound: InboundRecord, turn: Turn, claim: Claim) -> bool:
        """Whether another worker has answered this turn by now, or is about to."""
        try:
            loaded = await self._load(turn, claim)
        except StoreError:
            return False  # its reply cannot be recorded before the store answers, and then the first one counts
        return loaded.claimed_s > 0 or _standing_reply(inbound, loaded) is not None

    def _otherwise(self, turn: Turn, effort: Effort, failure: Failure, state: State) -> tuple[Response, Failure | None]:
        """What is said when no model answers: by rule, by a person, or an honest word and a dead letter."""
        if failure.reason is Reason.UNKNOWN_ACTION:
            return Response(failed(turn, effort, failure)), failure
        state = state.model_copy(update={"failures": state.failures + 1})
        if text := self._last_resort(turn):
            disguise = Disguise(self._assistant.redaction, state.vault)
            exchange = Exchange(disguise.hide(turn.text), disguise.hide(text))
            state = state.model_copy(update={"vault": disguise.vault.to_json()})
            return Response(by_rule(turn, effort, text), exchange, state), None
        rules, reason = self._assistant.hand_off, failure.reason.value
        if rules is not None and rules.after_failures and state.failures >= rules.after_failures:
            return Response(handed_off(turn, effort, reason), state=state, hand_off=reason), None
        if failure.reason is Reason.OVER_BUDGET:
            return Response(handed_off(turn, effort, reason)), None
        return Response(failed(turn, effort, failure), state=state), failure

    def _last_resort(self, turn: Turn) -> str | None:
        if self._assistant.last_resort is None:
            return None
        try:
            text = self._assistant.last_resort(turn)
            if text is None or text.encode():
                return text
            raise ValueError("it answers nothing")
        except MISTAKES as error:  # a mistake in the assistant's rule must not cost the turn its dead letter
            raise_if_ours(error)
            log.exception("last_resort.failed", turn_id=turn.turn_id, conversation_id=turn.conversation_id)
            return None

    async def _record(
        self,
        inbound: InboundRecord,
        turn: Turn,
        effort: Effort,
        response: Response,
        failure: Failure | None,
        permit: Permit,
        loaded: Loaded,
    ) -> Publication:
        """Stores the reply before anyone sees it; another worker's, if it was first, is the one that counts."""
        value, wrong = _encoded(response.reply)
        if wrong:
            failure = Failure(Reason.HANDLER_ERROR, wrong, effort.attempts)
            response = Response(failed(turn, effort, failure))
            value = encode(response.reply)
        scopes, cost_usd = self._budget.ceilings.scopes(turn.tenant), effort.cost_usd
        before = loaded.conversation.state
        state = (response.state or before).billed(loaded.conversation.summary_usd)
        entry = Entry(
            turn.conversation_id,
            turn.turn_id,
            StoredReply(response.reply.outcome, value),
            response.exchange,
            scopes,
            cost_usd,
            None if state == before else state,
            response.hand_off,
        )
        again = replayed(inbound.headers)
        with spans.store("record"):
            counts = await self._patiently(lambda: self._store.record(entry, replace=again), permit)
        self._budget.recorded(scopes, cost_usd, time.time())
        left_out = effort.left_out_bytes * effort.attempts
        metrics.LEFT_OUT.inc(left_out)
        return _publication(turn, counts, failure if counts.value == value else None, loaded, left_out)

    async def _patiently(self, ask: Callable[[], Awaitable[Result]], permit: Permit) -> Result:
        """Asks the store until it answers: no turn is answered without its conversation."""
        while True:
            try:
                result = await ask()
            except StoreError as error:
                metrics.STORE_ERRORS.inc()
                self._store_away = f"the store does not answer: {error}"
                log.error("store.away", error=str(error), retry_s=_STORE_RETRY_S)
            else:
                self._store_away = None
                return result
            permit.give_back()
            await asyncio.sleep(_STORE_RETRY_S)
            await permit.regain()


def _publication(
    turn: Turn, stored: StoredReply, failure: Failure | None, loaded: Loaded, left_out_bytes: int = 0
) -> Publication:
    """What to publish for a turn whose reply is stored."""
    headers: Headers = ((names.TENANT, turn.tenant.encode()),) if turn.tenant else ()
    if left_out_bytes:
        headers += ((names.LEFT_OUT, b"%d" % left_out_bytes),)
    handed = None
    if stored.outcome == "handed_off":
        vault = Vault(loaded.conversation.state.vault)
        said = [(restore(said, vault), restore(answer, vault)) for said, answer, _ in loaded.history]
        handed = encode(handoff(turn, decode_reply(stored.value), said))
    return Publication(stored.value, failure, turn.conversation_id, stored.outcome, handed, headers)


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


def _standing_reply(inbound: InboundRecord, loaded: Loaded) -> StoredReply | None:
    """The turn's reply, if it stands. A replayed dead letter gets a new try; what was answered meanwhile stays answered."""
    stored = loaded.reply
    return stored if stored and (stored.final or not replayed(inbound.headers)) else None


def _failure_of(stored: StoredReply) -> Failure | None:
    """The failure in a stored reply: its dead letter may not have been published before the crash."""
    if stored.outcome != "failed":
        return None
    reply = decode_reply(stored.value)
    assert reply.error is not None
    return Failure(Reason(reply.error.code), reply.error.message, reply.attempts)
