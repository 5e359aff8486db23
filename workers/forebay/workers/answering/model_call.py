"""Asking: from a prompt to a completion, by whichever model may and can answer before the turn's deadline."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from forebay.schemas import Failure, Reason, Turn
from forebay.workers import metrics
from forebay.workers.engine.permit import Permit
from forebay.workers.flow.budget import Budget
from forebay.workers.flow.chain import Chain, Order
from forebay.workers.flow.hedge import Hedge
from forebay.workers.flow.retry import Circumstances, Next, RetryPolicy, Tries
from forebay.workers.flow.upstream import Call, Upstream
from forebay.workers.models import RETRYABLE, Completion, ModelError, Prompt

from .pseudonyms import ShownDeltas
from .replies import Effort

log = structlog.get_logger()

LOOK_AGAIN_S = 1.0
"""A turn that waited longer than this since its stored past was read looks again whether it has a reply: a process that
was stopped, or a partition that moved, may have left it to another worker meanwhile.
"""


class Expired(Exception):
    """The deadline passed before a model was called."""


class AnsweredMeanwhile(Exception):
    """Another worker has answered this turn: ours was stopped, or out of its group, for a while."""


class GaveUp(Exception):
    """No model will answer this turn."""

    def __init__(self, reason: Reason, message: str, attempts: int = 0) -> None:
        super().__init__(message)
        self.failure = Failure(reason, message, attempts)


class Asked(NamedTuple):
    """A completion and who gave it."""

    completion: Completion
    upstream: Upstream


class Question:
    """One turn's way to an answer: its prompt, and what was tried so far."""

    def __init__(
        self,
        turn: Turn,
        prompt: Prompt,
        deadline: float,
        effort: Effort,
        stream: ShownDeltas | None,
        scopes: tuple[str, ...],
        has_reply: Callable[[], Awaitable[bool]] | None = None,
        order: Order | None = None,
    ) -> None:
        """``deadline`` in seconds since the epoch; ``scopes`` are those of the budgets it counts against; ``has_reply``
        asks whether the turn has a stored reply by now; ``order`` is that of the models to ask.
        """
        self.turn, self.prompt, self.deadline, self.effort, self.stream = turn, prompt, deadline, effort, stream
        self.scopes = scopes
        self.has_reply, self.order = has_reply, order
        self.looked_at = time.monotonic()
        self.tries = Tries(shortened=prompt.shortest)
        self.avoided: set[Upstream] = set()
        self.failed_by = Counter[Upstream]()
        self.last_error: ModelError | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()

    def late(self) -> Expired | GaveUp:
        """What to raise when the deadline has passed."""
        if not self.effort.attempts:
            return Expired()
        why = f"the last error was: {self.last_error}" if self.last_error else "tools took too long"
        message = f"its deadline passed; {why}"
        return GaveUp(Reason.RETRIES_EXHAUSTED, message, self.effort.attempts)


class Asking:
    """Asks the upstreams of a chain, within a budget."""

    def __init__(self, chain: Chain, retry: RetryPolicy, budget: Budget, hedge: Hedge | None = None) -> None:
        self._chain = chain
        self._hedge = hedge or Hedge(0.0)
        self._budget = budget
        self._retry = retry
        self._loop = asyncio.get_running_loop()

    async def ask(self, question: Question, permit: Permit) -> Asked:
        """Asks until a model answers, the deadline passes, or asking again is pointless. Raises Expired or GaveUp."""
        while True:
            upstream, answer = await self._once(question)
            if isinstance(answer, Completion):
                return Asked(answer, upstream)
            following = self._after(question, upstream, answer)
            if question.stream:
                question.stream.restart()
            if following.delay_s:
                permit.give_back()
                await asyncio.sleep(following.delay_s)
                await permit.regain()

    async def _once(self, question: Question) -> tuple[Upstream, Completion | ModelError]:
        if question.left_s <= 0:
            raise question.late()
        with self._reserved(question) as thrifty:
            try:
                until = self._loop.time() + question.left_s
                order = self._chain.cheapest_first if thrifty else question.order
                upstream, call = await self._chain.admitted(question.prompt, question.avoided, until, order)
            except TimeoutError:
                raise question.late() from None
            if question.has_reply and time.monotonic() - question.looked_at > LOOK_AGAIN_S:
                question.looked_at = time.monotonic()
                try:
                    answered = await question.has_reply()
                except BaseException:
                    self._chain.abandon(upstream, call)
                    raise
                if answered:
                    self._chain.abandon(upstream, call)
                    raise AnsweredMeanwhile
            return await self._call(question, upstream, call)

    @contextmanager
    def _reserved(self, question: Question) -> Iterator[bool]:
        """Holds what a call may cost, so that calls at the same time do not pass a ceiling together.

        Gives whether to be thrifty. What was spent stays held until it is recorded. Raises GaveUp at a ceiling.
        """
        scopes, effort = question.scopes, question.effort
        estimate = self._chain.estimated_usd(question.prompt) if scopes else 0.0
        verdict = self._budget.verdict(scopes, estimate, time.time()) if scopes else "free"
        if verdict == "stop":
            raise GaveUp(Reason.OVER_BUDGET, "a spending ceiling is reached", effort.attempts)
        spent_before = effort.cost_usd
        self._budget.reserve(scopes, estimate)
        try:
            yield verdict == "economy"
        finally:
            self._budget.reserve(scopes, effort.cost_usd - spent_before - estimate)

    async def _call(
        self, question: Question, upstream: Upstream, call: Call
    ) -> tuple[Upstream, Completion | ModelError]:
        effort, stream = question.effort, question.stream
        effort.attempts += 1
        began = time.perf_counter()
        try:
            if stream or (after_s := self._hedge.after_s()) is None:
                completion = await self._chain.call(upstream, call, question.prompt, stream.add if stream else None)
            else:
                upstream, completion = await self._hedged(question, upstream, call, after_s)
        except ModelError as error:
            question.last_error = error
            return upstream, error
        else:
            self._hedge.took(time.perf_counter() - began)
            cost = upstream.known.cost_usd(completion.usage, time.time())
            effort.used(completion.usage, cost)
            metrics.spent(upstream.model.name, completion.usage, cost)
            return upstream, completion
        finally:
            self._hedge.begun()
            effort.model_s += time.perf_counter() - began
            if stream:
                stream.flush()

    async def _hedged(
        self, question: Question, upstream: Upstream, call: Call, after_s: float
    ) -> tuple[Upstream, Completion]:
        """The call, and beside it a second one when it takes longer than most: the first answer counts."""
        prompt, effort = question.prompt, question.effort
        calls = {asyncio.create_task(self._chain.call(upstream, call, prompt, None)): upstream}
        try:
            done, _ = await asyncio.wait(calls, timeout=after_s)
            if (
                not done
                and self._hedge.spend()
                and (second := self._chain.admitted_now(prompt, {upstream}, question.order))
            ):
                metrics.HEDGES.inc()
                effort.attempts += 1
                effort.cost_usd += upstream.estimated_usd(prompt)  # one of the two will be paid for and not used
                calls[asyncio.create_task(self._chain.call(*second, prompt, None))] = second[0]
            while True:
                done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    answering = calls.pop(task)
                    if task.exception() is None or not calls:
                        return answering, task.result()
        finally:
            for task in calls:
                task.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    def _after(self, question: Question, upstream: Upstream, error: ModelError) -> Next:
        """Notes a failure and decides what follows; raises GaveUp when nothing does."""
        tries, effort = question.tries, question.effort
        tries.failures += 1
        tries.in_a_row_here += 1
        question.failed_by[upstream] += 1
        others = any(other not in question.avoided and other is not upstream for other in self._chain.upstreams)
        fails_others = upstream.breaker.failures_in_row > question.failed_by[upstream]
        now = Circumstances(question.left_s, error.retry_after_s, others, fails_others)
        following = self._retry.after(error.trouble, tries, now, random.random())  # noqa: S311
        metrics.MODEL_ERRORS.labels(metrics.UPSTREAMS(upstream.name), error.trouble.value).inc()
        log.warning(
            "turn.failed" if following.step == "give_up" else "turn.retry",
            turn_id=question.turn.turn_id,
            conversation_id=question.turn.conversation_id,
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
            question.avoided.add(upstream)
            tries.in_a_row_here = 0
        elif following.step == "shorter":
            question.prompt = question.prompt.shorter()
            tries.shortened = question.prompt.shortest
        return following
