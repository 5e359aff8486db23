"""A model call: from a prompt to a completion, by whichever model may and can answer before the turn's deadline."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from forebay.schemas import Reason
from forebay.workers import metrics
from forebay.workers.flow.budget import Budget
from forebay.workers.flow.chain import Chain, Order
from forebay.workers.flow.hedge import Hedge
from forebay.workers.flow.retry import Circumstances, Next, RetryPolicy, Tries
from forebay.workers.flow.upstream import Call, Upstream
from forebay.workers.models import RETRYABLE, Completion, ModelError, Prompt
from forebay.workers.models.model import whole_text

from .pseudonyms import RestoredDeltas
from .turn_context import AnsweredMeanwhile, Expired, GaveUp, TurnContext
from .turn_store import TurnStore

log = structlog.get_logger()

LOOK_AGAIN_S = 1.0
"""A turn that waited longer than this since its stored past was read looks again whether it has a reply: a process that
was stopped, or a partition that moved, may have left it to another worker meanwhile.
"""


class ModelCall:
    """What one turn asks of its models: a prompt that grows, and what was tried so far."""

    def __init__(
        self, context: TurnContext, prompt: Prompt, order: Order | None = None, stream: RestoredDeltas | None = None
    ) -> None:
        """``order`` is that of the models to ask."""
        self.context, self.prompt, self.order, self.stream = context, prompt, order, stream
        self.effort = context.effort
        self.upstream: Upstream | None = None
        """Who was asked last."""
        self.looked_at = time.monotonic()
        self.tries = Tries()
        self.avoided: set[Upstream] = set()
        self.failed_by = Counter[Upstream]()
        self.last_error: ModelError | None = None
        self._fragments: list[str] = []

    def hear(self, text: str) -> None:
        """A fragment of the answer came."""
        self._fragments.append(text)
        if self.stream:
            self.stream.add(text)

    def restart(self) -> None:
        """What came so far does not count."""
        self._fragments.clear()
        if self.stream:
            self.stream.restart()

    @property
    def said(self) -> str:
        """What the call under way has answered so far, as the model wrote it."""
        return whole_text("".join(self._fragments))

    @property
    def model(self) -> str:
        """Name of the model that was asked last."""
        return self.upstream.model.name if self.upstream else ""

    def late(self) -> Expired | GaveUp:
        """What to raise when the deadline has passed."""
        if not self.effort.attempts:
            return Expired()
        why = f"the last error was: {self.last_error}" if self.last_error else "tools took too long"
        message = f"its deadline passed; {why}"
        return GaveUp(Reason.RETRIES_EXHAUSTED, message, self.effort.attempts)


class ModelCalls:
    """Calls the upstreams of a chain, within a budget."""

    def __init__(
        self,
        chain: Chain,
        budget: Budget,
        retry: RetryPolicy = RetryPolicy(),
        hedge: Hedge | None = None,
        store: TurnStore | None = None,
    ) -> None:
        """``store`` tells whether a turn has its reply from another worker."""
        self._chain, self._budget, self._retry, self._hedge, self._store = chain, budget, retry, hedge, store
        self._loop = asyncio.get_running_loop()

    async def completion(self, call: ModelCall) -> Completion:
        """Asks until a model answers. Raises Expired at the deadline, AnsweredMeanwhile, GaveUp, or Interrupted."""
        permit, context = call.context.permit, call.context
        with context.group.interruptible([member.inbound for member in context.wanted]):
            while True:
                answer = await self._once(call)
                if isinstance(answer, Completion):
                    return answer
                following = self._after(call, answer)
                call.restart()
                if following.delay_s:
                    permit.give_back()
                    await asyncio.sleep(following.delay_s)
                    await permit.regain()

    async def _once(self, call: ModelCall) -> Completion | ModelError:
        left_s = call.context.deadline - time.time()
        if left_s <= 0:
            raise call.late()
        with self._reserved(call) as thrifty:
            order = self._chain.cheapest_first if thrifty else call.order
            try:
                admitted = await self._chain.admitted(call.prompt, call.avoided, self._loop.time() + left_s, order)
            except TimeoutError:
                raise call.late() from None
            if time.monotonic() - call.looked_at > LOOK_AGAIN_S:
                await self._look_again(call, *admitted)
            return await self._ask(call, *admitted)

    async def _look_again(self, call: ModelCall, upstream: Upstream, admission: Call) -> None:
        """Raises AnsweredMeanwhile when the turn has its reply, or another worker holds it now."""
        call.looked_at, answered = time.monotonic(), True
        try:
            answered = self._store is not None and await self._store.answered_meanwhile(call.context)
        finally:
            if answered:
                self._chain.abandon(upstream, admission)
        if answered:
            raise AnsweredMeanwhile

    @contextmanager
    def _reserved(self, call: ModelCall) -> Iterator[bool]:
        """Holds what a call may cost, so that calls at the same time do not pass a ceiling together.

        Gives whether to be thrifty. What was spent stays held until it is recorded. Raises GaveUp at a ceiling.
        """
        scopes, effort = call.context.scopes, call.effort
        if not scopes:
            yield False
            return
        estimate = self._chain.estimated_usd(call.prompt)
        verdict = self._budget.verdict(scopes, estimate, time.time())
        if verdict == "stop":
            raise GaveUp(Reason.OVER_BUDGET, "a spending ceiling is reached", effort.attempts)
        spent_before = effort.cost_usd
        self._budget.reserve(scopes, estimate)
        try:
            yield verdict == "economy"
        finally:
            self._budget.reserve(scopes, effort.cost_usd - spent_before - estimate)

    async def _ask(self, call: ModelCall, upstream: Upstream, admission: Call) -> Completion | ModelError:
        call.upstream = upstream
        effort, stream, hedge = call.effort, call.stream, self._hedge
        effort.attempts += 1
        began = time.perf_counter()
        try:
            if stream or hedge is None or (after_s := hedge.after_s()) is None:
                on_text = call.hear if stream else None
                completion = await self._chain.call(upstream, admission, call.prompt, on_text)
            else:
                completion = await self._hedged(call, hedge, upstream, admission, after_s)
        except ModelError as error:
            call.last_error = error
            return error
        except asyncio.CancelledError:  # what the provider had done by then is paid for
            usage = upstream.estimated_usage(call.prompt, call.said)
            effort.used(usage, upstream.spent(usage, time.time()))
            raise
        else:
            if hedge is not None:
                hedge.took(time.perf_counter() - began)
            effort.used(completion.usage, call.upstream.spent(completion.usage, time.time()))
            return completion
        finally:
            if hedge is not None:
                hedge.begun()
            effort.model_s += time.perf_counter() - began
            if stream:
                stream.flush()

    async def _hedged(
        self, call: ModelCall, hedge: Hedge, upstream: Upstream, admission: Call, after_s: float
    ) -> Completion:
        """The call, and beside it a second one when it takes longer than most: the first answer counts."""
        prompt, effort = call.prompt, call.effort
        asked = {asyncio.create_task(self._chain.call(upstream, admission, prompt, None)): upstream}
        try:
            done, _ = await asyncio.wait(asked, timeout=after_s)
            if not done and hedge.spend() and (second := self._chain.admitted_now(prompt, {upstream}, call.order)):
                metrics.HEDGES.inc()
                effort.attempts += 1
                effort.cost_usd += upstream.estimated_usd(prompt)  # one of the two will be paid for and not used
                asked[asyncio.create_task(self._chain.call(*second, prompt, None))] = second[0]
            while True:
                done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    answering = asked.pop(task)
                    if task.exception() is None or not asked:
                        completion = task.result()
                        call.upstream = answering
                        return completion
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _after(self, call: ModelCall, error: ModelError) -> Next:
        """Notes a failure and decides what follows; raises GaveUp when nothing does."""
        upstream, tries, effort = call.upstream, call.tries, call.effort
        assert upstream is not None
        tries.failures += 1
        tries.in_a_row_here += 1
        tries.shortened = call.prompt.shortest
        call.failed_by[upstream] += 1
        others = any(other not in call.avoided and other is not upstream for other in self._chain.upstreams)
        fails_others = upstream.breaker.failures_in_row > call.failed_by[upstream]
        left_s = call.context.deadline - time.time()
        now = Circumstances(left_s, error.retry_after_s, others, fails_others)
        following = self._retry.after(error.trouble, tries, now, random.random())  # noqa: S311
        metrics.MODEL_ERRORS.labels(metrics.UPSTREAMS(upstream.name), error.trouble.value).inc()
        log.warning(
            "turn.failed" if following.step == "give_up" else "turn.retry",
            turn_id=call.context.turn.turn_id,
            conversation_id=call.context.turn.conversation_id,
            upstream=upstream.name,
            attempt=effort.attempts,
            error=str(error),
            request_id=error.request_id,
            next=following.step,
            delay_s=round(following.delay_s, 3),
        )
        if following.step == "give_up":
            reason = Reason.RETRIES_EXHAUSTED if error.trouble in RETRYABLE else Reason.REJECTED_BY_MODEL
            raise GaveUp(reason, str(error), effort.attempts) from error
        if following.step == "elsewhere":
            call.avoided.add(upstream)
            tries.in_a_row_here = 0
        elif following.step == "shorter":
            call.prompt = call.prompt.shorter()
        return following
