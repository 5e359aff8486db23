"""Answering: from one received turn to what is published for it. `Answering.answer` reads as the list of steps."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import structlog

from schemas import Failure, Outcome, Reason, Reply, Turn, decode_reply, encode, identity, replayed

from . import metrics
from .assistants import Assistant
from .compose import Effort, answered, expired, failed
from .conversations import Entry, Exchange, Loaded, Store, StoredReply, StoreError
from .deltas import DeltaStream
from .models import CatalogueModel, Completion, Message, Model, ModelError, Prompt
from .permit import Permit
from .received import Received
from .retry import RetryPolicy

log = structlog.get_logger()

MAX_REPLY_BYTES = 1_000_000
"""Larger replies would not fit Kafka's default record size with their headers."""
_STORE_RETRY_S = 1.0

Result = TypeVar("Result")


class Answer(NamedTuple):
    """What is published for a turn: its reply, and for a failed one the dead letter's reason."""

    reply: bytes | None
    """None when nobody can be told: the record has no readable identity."""
    failure: Failure | None
    conversation_id: str
    """Key of the reply."""
    outcome: Outcome


class Answering:
    """Answers turns with one assistant."""

    def __init__(
        self,
        *,
        assistant: Assistant,
        model: Model,
        known: CatalogueModel,
        store: Store,
        turn_ttl_s: float,
        deltas: Callable[[Turn], DeltaStream],
        retry: RetryPolicy = RetryPolicy(),
    ) -> None:
        self._assistant = assistant
        self._model = model
        self._known = known
        self._store = store
        self._turn_ttl_s = turn_ttl_s
        self._deltas = deltas
        self._retry = retry
        self._store_away: str | None = None

    def ready(self) -> str | None:
        """Why no turn can be answered now, or None."""
        return self._store_away

    async def answer(self, received: Received, permit: Permit) -> Answer:
        """One turn, from its stored past to its stored reply. Never raises for what the turn or the model did."""
        effort = Effort(received.timestamp, time.time())
        if received.failure is not None:
            return await self._refuse(received, received.failure, effort, permit)
        turn = received.decode()
        loaded = await self._patiently(lambda: self._load(turn), permit)
        if (stored := loaded.reply) and not _to_be_answered_again(received, stored):
            return Answer(stored.value, _failure_of(stored), turn.conversation_id, stored.outcome)
        try:
            completion = await self._call(received, turn, loaded, effort, permit)
            reply, failure = self._accept(turn, effort, completion), None
        except _Expired:
            reply, failure = expired(turn, effort), None
        except _Failed as error:
            reply, failure = failed(turn, effort, error.failure), error.failure
        except Exception as error:
            log.exception("turn.handler_error", turn_id=turn.turn_id, conversation_id=turn.conversation_id)
            failure = Failure(Reason.HANDLER_ERROR, f"{type(error).__name__}: {error}", effort.attempts)
            reply = failed(turn, effort, failure)
        permit.give_back()
        return await self._record(received, turn, effort, reply, failure, permit)

    async def _refuse(self, received: Received, failure: Failure, effort: Effort, permit: Permit) -> Answer:
        """A record that is no turn is a dead letter; whoever waits for it is told, where that can be read."""
        names = identity(received.value)
        if names is None:
            return Answer(None, failure, "", "failed")
        turn = Turn.model_construct(turn_id=names[0], conversation_id=names[1], text="")
        answer = await self._record(received, turn, effort, failed(turn, effort, failure), failure, permit)
        return answer._replace(failure=failure)  # the record is a dead letter even where its turn has an answer

    async def _load(self, turn: Turn) -> Loaded:
        return await self._store.load(turn.conversation_id, turn.turn_id, self._assistant.history)

    async def _call(self, received: Received, turn: Turn, loaded: Loaded, effort: Effort, permit: Permit) -> Completion:
        """Calls the model until it answers, the turn expires, or trying again is pointless."""
        if turn.confirm is not None:
            raise _Failed(
                Reason.UNKNOWN_ACTION, f"no action {turn.confirm.action_id!r} is pending in this conversation"
            )
        deadline = self._deadline(received, turn)
        prompt = self._prompt(turn, loaded)
        stream = self._deltas(turn) if turn.stream else None
        while True:
            if time.time() >= deadline:
                if effort.attempts:
                    raise _Failed(Reason.RETRIES_EXHAUSTED, "the deadline passed between two tries", effort.attempts)
                raise _Expired
            effort.attempts += 1
            began = time.perf_counter()
            try:
                return await self._model.complete(prompt, stream.add if stream else None)
            except ModelError as error:
                delay = self._delay_s(turn, error, effort, deadline)
            finally:
                effort.model_s += time.perf_counter() - began
                if stream:
                    stream.flush()
            if stream:
                stream.restart()
            permit.give_back()
            await asyncio.sleep(delay)
            await permit.regain()

    def _delay_s(self, turn: Turn, error: ModelError, effort: Effort, deadline: float) -> float:
        """Seconds until the next try; raises when there is none."""
        left = deadline - time.time()
        delay = self._retry.delay_s(effort.attempts, error.retry_after_s, left, random.random())  # noqa: S311
        again = error.retryable and delay is not None
        metrics.MODEL_ERRORS.labels(str(error.status or "connection")).inc()
        log.warning(
            "turn.retry" if again else "turn.failed",
            turn_id=turn.turn_id,
            conversation_id=turn.conversation_id,
            attempt=effort.attempts,
            error=str(error),
            request_id=error.request_id,
            delay_s=round(delay, 3) if again and delay is not None else None,
        )
        if not error.retryable:
            raise _Failed(Reason.REJECTED_BY_MODEL, str(error), effort.attempts) from error
        if delay is None:
            raise _Failed(Reason.RETRIES_EXHAUSTED, str(error), effort.attempts) from error
        return delay

    def _deadline(self, received: Received, turn: Turn) -> float:
        """Seconds since the epoch. A replayed turn's clock starts anew at its replay."""
        if replayed(received.headers):
            return received.timestamp / 1000 + self._turn_ttl_s
        if turn.expires_at is not None:
            return turn.expires_at.timestamp()
        sent_at = turn.sent_at.timestamp() if turn.sent_at is not None else received.timestamp / 1000
        return sent_at + self._turn_ttl_s

    def _prompt(self, turn: Turn, loaded: Loaded) -> Prompt:
        messages: list[Message] = []
        for said, answer in loaded.history:
            messages += (Message("user", said), Message("assistant", answer))
        messages.append(Message("user", turn.text))
        return Prompt(self._assistant.instructions, tuple(messages), self._assistant.max_tokens)

    def _accept(self, turn: Turn, effort: Effort, completion: Completion) -> Reply:
        """The completion as a reply; what it cost is counted even when it says nothing."""
        cost = self._known.cost_usd(completion.usage)
        metrics.spent(self._model.name, completion.usage, cost)
        if not completion.text.strip():
            raise _Failed(Reason.REJECTED_BY_MODEL, f"an empty answer ({completion.finish_reason})", effort.attempts)
        return answered(turn, effort, completion, self._model.name, cost)

    async def _record(
        self, received: Received, turn: Turn, effort: Effort, reply: Reply, failure: Failure | None, permit: Permit
    ) -> Answer:
        """Stores the reply before anyone sees it; another worker's, if it was first, is the one that counts."""
        value = encode(reply)
        if len(value) > MAX_REPLY_BYTES:
            failure = Failure(Reason.HANDLER_ERROR, f"the reply has {len(value):,} bytes, more than a record takes")
            reply = failed(turn, effort, failure)
            value = encode(reply)
        exchange = Exchange(turn.text, reply.text) if reply.outcome == "answered" else None
        entry = Entry(turn.conversation_id, turn.turn_id, StoredReply(reply.outcome, value), exchange)
        again = replayed(received.headers)
        counts = await self._patiently(lambda: self._store.record(entry, replace=again), permit)
        return Answer(counts.value, failure if counts.value == value else None, turn.conversation_id, counts.outcome)

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


class _Expired(Exception):
    """The turn's deadline passed before a model was called."""


class _Failed(Exception):
    """Carries a failure out of the steps."""

    def __init__(self, reason: Reason, message: str, attempts: int = 0) -> None:
        super().__init__(message)
        self.failure = Failure(reason, message, attempts)


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
