"""The store as turns use it: asked until it answers, since no turn is answered without its conversation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import ParamSpec, TypeVar

import structlog

from forebay.workers import metrics
from forebay.workers.conversations import ConversationErased, Entry, Loaded, State, Store, StoredReply, StoreError
from forebay.workers.conversations.store import store_span
from forebay.workers.engine.permit import Permit
from forebay.workers.flow.budget import Budget

from .turn_context import AnsweredMeanwhile, Member, TurnContext, TurnEnding

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
        """Loads what is known, as soon as the turns are ours or have replies: a worker that died may still hold them."""
        told = False
        while context.open:
            claimed_s = await self._patiently(context.permit, self._load, context)
            if not claimed_s:
                return
            if not told:
                log.info("turn.claimed_by_another", turn_id=context.turn.turn_id, seconds=round(claimed_s, 1))
                told = True
            context.permit.give_back()
            await asyncio.sleep(min(claimed_s, _CLAIM_LOOK_S))
            await context.permit.regain()

    async def answered_meanwhile(self, context: TurnContext) -> bool:
        """Whether another worker has answered one of these turns by now, or is about to."""
        try:
            looks = await asyncio.gather(*(self._look(member, 0) for member in context.wanted))
        except StoreError:
            return False  # its reply cannot be recorded before the store answers, and then the first one counts
        return any(look.claimed_s or member.standing for look, member in zip(looks, context.wanted, strict=True))

    async def save_state(self, context: TurnContext, state: State) -> None:
        """Stores the conversation's state before the turn has ended. Raises AnsweredMeanwhile when the turn is not ours."""
        assert context.lead is not None
        assert context.lead.claim is not None
        claim, erased_at = context.lead.claim, context.past.erased_at
        if not await self._patiently(context.permit, self._store.save_state, claim, state, erased_at):
            raise AnsweredMeanwhile
        context.stored_state = state

    async def record(
        self, context: TurnContext, ending: TurnEnding, value: bytes, others: Sequence[tuple[str, StoredReply]] = ()
    ) -> tuple[StoredReply, ...]:
        """Stores how the turn ends, with ``value``, its reply's bytes, and how the ``others`` of its group do, by turn id,
        before anyone sees it.

        Returns the replies that count, the turn's first: another worker's, if it was first. Raises AnsweredMeanwhile when the
        conversation was erased: what is right then is decided anew.
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
            tuple(others),
            context.turn.user_id,
            context.turn.tenant,
            context.past.erased_at,
        )
        replayed = any(member.replayed for member in context.open)
        with store_span("record"):
            try:
                counts = await self._patiently(context.permit, self._store.record, entry, replace=replayed)
            except ConversationErased:
                raise AnsweredMeanwhile from None
        self._budget.recorded(context.scopes, cost_usd, time.time())
        return counts

    async def _load(self, context: TurnContext) -> float:
        """Looks for every turn that has no reply yet; returns for how many seconds others still hold one of them."""
        *others, last = context.open
        past = await self._look(last, self._exchanges, context.scopes)
        further = await asyncio.gather(*(self._look(member, 0) for member in others)) if others else ()
        if context.scopes:
            self._budget.learn(past.spent)
        looks = list(zip((past, *further), (last, *others), strict=True))
        context.loaded(past)
        return max(0.0 if member not in context.open else look.claimed_s for look, member in looks)

    async def _look(self, member: Member, exchanges: int, scopes: Sequence[str] = ()) -> Loaded:
        turn, owner = member.turn, member.claim.owner if member.claim else None
        with store_span("load"):
            past = await self._store.load(turn.conversation_id, turn.turn_id, exchanges, scopes, owner)
        member.stored = past.reply
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
