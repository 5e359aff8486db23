"""The store as turns use it: asked until it answers, since no turn is answered without its conversation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import structlog

from forebay.workers import metrics
from forebay.workers.conversations import ConversationErased, Entry, Loaded, State, Store, StoredReply, StoreError
from forebay.workers.conversations.store import store_span
from forebay.workers.engine.permit import Permit
from forebay.workers.flow.budget import Budget

from .turn_context import AnsweredMeanwhile, TurnContext, TurnEnding

log = structlog.get_logger()

_RETRY_S = 1.0
_CLAIM_LOOK_S = 0.5
"""Between two looks at a turn that another holds: it may be answered long before its claim ends."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class TurnStore:
    """Loads turns with their conversations, and records what they come to."""

    def __init__(self, store: Store, budget: Budget, exchanges: int) -> None:
        """``exchanges`` is how many of a conversation are loaded, at most."""
        self._store, self._budget, self._exchanges = store, budget, exchanges
        self.away: str | None = None
        """Why the store cannot be used now."""

    async def load(self, context: TurnContext) -> None:
        """Loads what is known, as soon as the turn is ours or has its reply: a worker that died may still hold it."""
        told = False
        while True:
            past = await self._patiently(context.permit, self._load, context)
            context.loaded(past)
            if not past.claimed_s or context.standing:
                return
            if not told:
                log.info("turn.claimed_by_another", turn_id=context.turn.turn_id, seconds=round(past.claimed_s, 1))
                told = True
            context.permit.give_back()
            await asyncio.sleep(min(past.claimed_s, _CLAIM_LOOK_S))
            await context.permit.regain()

    async def answered_meanwhile(self, context: TurnContext) -> bool:
        """Whether another worker has answered this turn by now, or is about to."""
        try:
            past = await self._load(context)
        except StoreError:
            return False  # its reply cannot be recorded before the store answers, and then the first one counts
        return past.claimed_s > 0 or context.stands(past.reply)

    async def save_state(self, context: TurnContext, state: State) -> None:
        """Stores the conversation's state before the turn has ended. Raises AnsweredMeanwhile when the turn is not ours."""
        assert context.claim is not None
        erased_at = context.past.erased_at
        if not await self._patiently(context.permit, self._store.save_state, context.claim, state, erased_at):
            raise AnsweredMeanwhile
        context.stored_state = state

    async def record(self, context: TurnContext, ending: TurnEnding, value: bytes) -> StoredReply:
        """Stores how the turn ends, with ``value``, its reply's bytes, before anyone sees it.

        Returns the reply that counts: another worker's, if it was first. Raises AnsweredMeanwhile when the conversation was
        erased: what is right then is decided anew.
        """
        turn, cost_usd = context.turn, context.effort.cost_usd
        state = ending.state or context.stored_state
        if context.past.conversation.summary_usd:
            state = state.billed(context.past.conversation.summary_usd)
        entry = Entry(
            turn.conversation_id,
            turn.turn_id,
            StoredReply(ending.reply.outcome, value),
            ending.exchange,
            context.scopes,
            cost_usd,
            None if state == context.stored_state else state,
            ending.hand_off,
            erased_at=context.past.erased_at,
        )
        with store_span("record"):
            try:
                counts, *_ = await self._patiently(context.permit, self._store.record, entry, replace=context.replayed)
            except ConversationErased:
                raise AnsweredMeanwhile from None
        self._budget.recorded(context.scopes, cost_usd, time.time())
        return counts

    async def _load(self, context: TurnContext) -> Loaded:
        turn = context.turn
        owner = context.claim.owner if context.claim else None
        with store_span("load"):
            past = await self._store.load(turn.conversation_id, turn.turn_id, self._exchanges, context.scopes, owner)
        if context.scopes:
            self._budget.learn(past.spent)
        return past

    async def _patiently(
        self,
        permit: Permit,
        ask: Callable[Arguments, Awaitable[Result]],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Asks again and again until the store answers; the permit is another's meanwhile."""
        while True:
            try:
                result = await ask(*arguments, **named)
            except StoreError as error:
                metrics.STORE_ERRORS.inc()
                self.away = f"the store does not answer: {error}"
                log.error("store.away", error=str(error), retry_s=_RETRY_S)
            else:
                self.away = None
                return result
            permit.give_back()
            await asyncio.sleep(_RETRY_S)
            await permit.regain()
