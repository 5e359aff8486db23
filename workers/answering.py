"""Answering: from one received turn to what is published for it. `Answering.answer` reads as the list of steps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import structlog

from schemas import Failure, Outcome, Reason, Reply, Turn, decode_reply, encode, identity, replayed

from . import metrics
from .asking import AnsweredMeanwhile, Asked, Asking, Expired, GaveUp, Question
from .assistants import Assistant
from .compose import Effort, answered, by_rule, expired, failed, handed_off, handoff
from .conversations import Entry, Exchange, Loaded, Store, StoredReply, StoreError
from .deltas import DeltaStream
from .flow.budget import Budget, Ceilings
from .flow.chain import Chain
from .flow.hedge import Hedge
from .flow.retry import RetryPolicy
from .models import Message, Prompt
from .permit import Permit
from .received import Received

log = structlog.get_logger()

MAX_REPLY_BYTES = 1_000_000
"""Larger replies would not fit Kafka's default record size with their headers."""
_STORE_RETRY_S = 1.0

Result = TypeVar("Result")


class Answer(NamedTuple):
    """What is published for a turn: its reply, for a failed one the dead letter's reason, for a person the transcript."""

    reply: bytes | None
    """None when nobody can be told: the record has no readable identity."""
    failure: Failure | None
    conversation_id: str
    """Key of the reply."""
    outcome: Outcome
    handoff: bytes | None = None


class Answering:
    """Answers turns with one assistant."""

    def __init__(
        self,
        *,
        assistant: Assistant,
        chain: Chain,
        store: Store,
        turn_ttl_s: float,
        deltas: Callable[[Turn], DeltaStream],
        retry: RetryPolicy = RetryPolicy(),
        budget: Budget | None = None,
        hedge: Hedge | None = None,
    ) -> None:
        self._assistant = assistant
        self._chain = chain
        self._budget = budget or Budget(Ceilings())
        self._asking = Asking(chain, retry, self._budget, hedge)
        self._store = store
        self._turn_ttl_s = turn_ttl_s
        self._deltas = deltas
        self._store_away: str | None = None

    def ready(self) -> str | None:
        """Why no turn can be answered now, or None."""
        return self._store_away or self._chain.unavailable()

    def permits(self) -> int:
        """How many turns the providers are believed to take at once."""
        return self._chain.limit

    async def answer(self, received: Received, permit: Permit) -> Answer:
        """One turn, from its stored past to its stored reply. Never raises for what the turn or the model did."""
        effort = Effort(received.timestamp, time.time())
        if received.failure is not None:
            return await self._refuse(received, received.failure, effort, permit)
        turn = received.decode()
        loaded = await self._patiently(lambda: self._load(turn), permit)
        if (stored := loaded.reply) and not _to_be_answered_again(received, stored):
            return _answer(turn, stored, _failure_of(stored), loaded.history)
        try:
            asked = await self._asking.ask(self._question(received, turn, loaded, effort), permit)
            reply, failure = self._accept(turn, effort, asked), None
        except AnsweredMeanwhile:
            return await self.answer(received, permit)
        except Expired:
            reply, failure = expired(turn, effort), None
        except GaveUp as error:
            reply, failure = self._otherwise(turn, effort, error.failure)
        except Exception as error:
            log.exception("turn.handler_error", turn_id=turn.turn_id, conversation_id=turn.conversation_id)
            failure = Failure(Reason.HANDLER_ERROR, f"{type(error).__name__}: {error}", effort.attempts)
            reply = failed(turn, effort, failure)
        permit.give_back()
        return await self._record(received, turn, effort, reply, failure, permit, loaded.history)

    async def _refuse(self, received: Received, failure: Failure, effort: Effort, permit: Permit) -> Answer:
        """A record that is no turn is a dead letter; whoever waits for it is told, where that can be read."""
        names = identity(received.value)
        if names is None:
            return Answer(None, failure, "", "failed")
        turn = Turn.model_construct(turn_id=names[0], conversation_id=names[1], text="")
        answer = await self._record(received, turn, effort, failed(turn, effort, failure), failure, permit, ())
        return answer._replace(failure=failure)  # the record is a dead letter even where its turn has an answer

    async def _load(self, turn: Turn) -> Loaded:
        scopes = self._budget.ceilings.scopes(turn.tenant)
        loaded = await self._store.load(turn.conversation_id, turn.turn_id, self._assistant.history, scopes)
        self._budget.learn(loaded.spent)
        return loaded

    def _question(self, received: Received, turn: Turn, loaded: Loaded, effort: Effort) -> Question:
        if turn.confirm is not None:
            raise GaveUp(Reason.UNKNOWN_ACTION, f"no action {turn.confirm.action_id!r} is pending in this conversation")
        stream = self._deltas(turn) if turn.stream else None
        scopes = self._budget.ceilings.scopes(turn.tenant)
        deadline = received.deadline(self._turn_ttl_s, turn)
        has_reply = partial(self._has_reply, received, turn)
        return Question(turn, self._prompt(turn, loaded), deadline, effort, stream, scopes, has_reply)

    async def _has_reply(self, received: Received, turn: Turn) -> bool:
        try:
            stored = (await self._load(turn)).reply
        except StoreError:
            return False  # its reply cannot be recorded before the store answers, and then the first one counts
        return stored is not None and not _to_be_answered_again(received, stored)

    def _otherwise(self, turn: Turn, effort: Effort, failure: Failure) -> tuple[Reply, Failure | None]:
        """What is said when no model answers: by rule, by a person, or an honest word and a dead letter."""
        if failure.reason is not Reason.UNKNOWN_ACTION:
            if text := self._last_resort(turn):
                return by_rule(turn, effort, text), None
            if self._assistant.hand_off or failure.reason is Reason.OVER_BUDGET:
                return handed_off(turn, effort, failure.reason.value), None
        return failed(turn, effort, failure), failure

    def _last_resort(self, turn: Turn) -> str | None:
        if self._assistant.last_resort is None:
            return None
        try:
            return self._assistant.last_resort(turn)
        except Exception:  # a mistake in the assistant's rule must not cost the turn its dead letter
            log.exception("last_resort.failed", turn_id=turn.turn_id, conversation_id=turn.conversation_id)
            return None

    def _prompt(self, turn: Turn, loaded: Loaded) -> Prompt:
        messages: list[Message] = []
        for exchange in loaded.history:
            messages += exchange.messages()
        messages.append(Message("user", turn.text))
        return Prompt(self._assistant.instructions, tuple(messages), self._assistant.max_tokens)

    def _accept(self, turn: Turn, effort: Effort, asked: Asked) -> Reply:
        completion, upstream = asked
        if not completion.text.strip():
            reason = f"an empty answer ({completion.finish_reason})"
            raise GaveUp(Reason.REJECTED_BY_MODEL, reason, effort.attempts)
        return answered(turn, effort, completion, upstream.model.name, priced=upstream.known.price is not None)

    async def _record(
        self,
        received: Received,
        turn: Turn,
        effort: Effort,
        reply: Reply,
        failure: Failure | None,
        permit: Permit,
        history: Sequence[Exchange],
    ) -> Answer:
        """Stores the reply before anyone sees it; another worker's, if it was first, is the one that counts."""
        value = encode(reply)
        if len(value) > MAX_REPLY_BYTES:
            failure = Failure(Reason.HANDLER_ERROR, f"the reply has {len(value):,} bytes, more than a record takes")
            reply = failed(turn, effort, failure)
            value = encode(reply)
        exchange = Exchange(turn.text, reply.text) if reply.outcome == "answered" else None
        scopes, cost_usd = self._budget.ceilings.scopes(turn.tenant), effort.cost_usd
        stored = StoredReply(reply.outcome, value)
        entry = Entry(turn.conversation_id, turn.turn_id, stored, exchange, scopes, cost_usd)
        again = replayed(received.headers)
        counts = await self._patiently(lambda: self._store.record(entry, replace=again), permit)
        self._budget.recorded(scopes, cost_usd, time.time())
        return _answer(turn, counts, failure if counts.value == value else None, history)

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


def _answer(turn: Turn, stored: StoredReply, failure: Failure | None, history: Sequence[Exchange]) -> Answer:
    """What to publish for a turn whose reply is stored."""
    handed = None
    if stored.outcome == "handed_off":
        handed = encode(handoff(turn, decode_reply(stored.value), history))
    return Answer(stored.value, failure, turn.conversation_id, stored.outcome, handed)


def _to_be_answered_again(received: Received, stored: StoredReply) -> bool:
    """A replayed dead letter gets a new try; what was answered meanwhile stays answered."""
    return replayed(received.headers) and stored.outcome in ("failed", "expired")


def _failure_of(stored: StoredReply) -> Failure | None:
    """The failure in a stored reply: its dead letter may not have been published before the crash."""
    if stored.outcome != "failed":
        return None
    reply = decode_reply(stored.value)
    assert reply.error is not None
    return Failure(Reason(reply.error.code), reply.error.message, reply.attempts)
