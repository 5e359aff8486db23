"""The chain: the upstreams of an assistant in order of preference, and the turns that wait for one of them.

A turn that cannot call now waits in line, first come first served; the line moves whenever a call ends or a limit gives
way, so a waiting turn costs nothing meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass

import structlog

from forebay.schemas import ModelState
from forebay.workers import metrics
from forebay.workers.models import Completion, ModelError, OnText, Prompt, Trouble

from .concurrency import AdaptiveLimit
from .operation import Operation
from .upstream import REFUSALS, Call, Upstream

log = structlog.get_logger()

PATIENCE_S = 2.0
"""How long to wait for a preferred model whose quota is used up, in seconds, before a later one in the chain is asked."""


Order = tuple[int, ...]
"""Which models answer, the preferred first: indexes of a chain's tiers. While the breakers of all of them are open, the
chain's other models stand in."""


@dataclass(eq=False, slots=True)
class _Waiter:
    prompt: Prompt
    avoided: Set[Upstream]
    admitted: asyncio.Future[tuple[Upstream, Call]]


class Chain:
    """Tiers of upstreams: each tier is one model behind one or several keys; a later one of an order stands in for the
    earlier. Turns of different orders wait in different lines, so that a model without quota holds up only its own.
    """

    def __init__(
        self,
        tiers: Sequence[Sequence[Upstream]],
        concurrency: AdaptiveLimit,
        names: Sequence[str] = (),
        fallbacks: int | None = None,
    ) -> None:
        """The first tier and so many ``fallbacks`` after it (None is all) are the default order.

        ``names`` are what the tiers' models are called in orders, where that is not how their providers call them.
        """
        self._tiers = tiers
        self._names = names or [tier[0].model.name for tier in tiers]
        everyone = tuple(range(len(tiers)))
        self.default: Order = everyone if fallbacks is None else everyone[: 1 + fallbacks]
        """The first model and its fallbacks."""
        self.cheapest_first: Order = tuple(sorted(everyone, key=lambda at: _price(tiers[at][0])))
        self._concurrency = concurrency
        self._lines: dict[Order, deque[_Waiter]] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight = 0
        """Calls under way."""

    @property
    def upstreams(self) -> list[Upstream]:
        """All upstreams, the preferred first."""
        return [upstream for tier in self._tiers for upstream in tier]

    def order(self, *names: str) -> Order:
        """The models of these names in place of the first one, then its fallbacks; without names the default."""
        wanted = [self._names.index(name) for name in names if name in self._names]
        return tuple(dict.fromkeys((*wanted, *self.default[1:]))) if wanted else self.default

    @property
    def limit(self) -> int:
        """Number of calls that the providers are estimated to take at once."""
        return self._concurrency.limit

    def unavailable(self) -> str | None:
        """Why no upstream can be called now, or None."""
        now = self._loop.time()
        if any(upstream.breaker.state(now) != "open" for upstream in self.upstreams):
            return None
        return "no model can be asked: " + "; ".join(
            f"{upstream.name}: {upstream.breaker.reason}" for upstream in self.upstreams
        )

    def models(self) -> tuple[ModelState, ...]:
        """State of every upstream."""
        now = self._loop.time()
        return tuple(
            ModelState(
                name=upstream.name,
                breaker=upstream.breaker.state(now),
                reason=upstream.breaker.reason,
                quota_left=max(0.0, upstream.rate.room(now)),
            )
            for upstream in self.upstreams
        )

    def refresh_metrics(self) -> None:
        """Updates the gauges."""
        now = self._loop.time()
        metrics.CALLS_IN_FLIGHT.set(self.in_flight)
        metrics.CONCURRENCY_LIMIT.set(self.limit)
        for upstream in self.upstreams:
            name = metrics.UPSTREAMS(upstream.name)
            metrics.BREAKER.labels(name).set(_OPENNESS[upstream.breaker.state(now)])
            metrics.QUOTA_LEFT.labels(name).set(upstream.rate.room(now))

    def estimated_usd(self, prompt: Prompt) -> float:
        """What a call will probably cost, at most: at the dearest of the upstreams."""
        return max(upstream.estimated_usd(prompt) for upstream in self.upstreams)

    def window_of(self, order: Order) -> tuple[int, float]:
        """(the context window in tokens, bytes of UTF-8 a token) of the model that comes first."""
        first = self._tiers[order[0]][0]
        return first.known.context, first.bytes_a_token

    async def admitted(
        self, prompt: Prompt, avoided: Set[Upstream], until: float, order: Order | None = None
    ) -> tuple[Upstream, Call]:
        """Waits in line for an upstream that may be called; those ``avoided`` only where no other is left.

        The call has begun when this returns: give it to `call`. Raises TimeoutError at ``until`` (of the loop's clock).
        """
        order = order or self.default
        line = self._lines.setdefault(order, deque())
        if not line:
            upstream, _ = self._choose(prompt, avoided, order)
            if upstream is not None:
                return upstream, self._begin(upstream, prompt)
        waiter = _Waiter(prompt, avoided, self._loop.create_future())
        line.append(waiter)
        self.look()
        try:
            async with asyncio.timeout_at(until):
                return await waiter.admitted
        except (TimeoutError, asyncio.CancelledError):
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                self.abandon(*waiter.admitted.result())  # admitted in the very moment in which it gave up
            else:
                self.look()  # who stood behind it may need less
            raise

    def admitted_now(
        self, prompt: Prompt, avoided: Set[Upstream], order: Order | None = None
    ) -> tuple[Upstream, Call] | None:
        """As `admitted`, without waiting and only when nobody waits."""
        upstream, _ = self._choose(prompt, avoided, order or self.default)
        return None if any(self._lines.values()) or upstream is None else (upstream, self._begin(upstream, prompt))

    async def call(self, upstream: Upstream, call: Call, prompt: Prompt, on_text: OnText | None) -> Completion:
        """Makes the call, and tells breaker, limits and waiting turns how it ended. Raises ModelError."""
        try:
            with Operation(upstream, on_text) as operation:
                completion = operation.answered(await upstream.model.complete(prompt, operation.on_text))
        except ModelError as error:
            self._failed(upstream, call, error)
            raise
        except BaseException:
            self.abandon(upstream, call)
            raise
        self.in_flight -= 1
        now = self._loop.time()
        was_closed = upstream.breaker.state(now) == "closed"
        upstream.answered(call, prompt, completion, now)
        if was_closed:
            self._concurrency.answered(self.in_flight)
        elif upstream.breaker.state(now) == "closed":
            log.info("breaker.closed", upstream=upstream.name)
            self._concurrency.restart()
        self.look()
        return completion

    def _failed(self, upstream: Upstream, call: Call, error: ModelError) -> None:
        self.in_flight -= 1
        now = self._loop.time()
        if upstream.failed(call, error, now):
            log.error(
                "breaker.open",
                upstream=upstream.name,
                reason=upstream.breaker.reason,
                error=str(error),
                fix=_FIX.get(error.trouble, "nothing: it tries again by itself; turns wait in Kafka meanwhile"),
            )
        elif error.trouble in REFUSALS or error.trouble is Trouble.TIMEOUT:
            self._concurrency.refused(self.in_flight, call.began, now)
        self.look()

    def abandon(self, upstream: Upstream, call: Call) -> None:
        """The admitted call was never made, or was cancelled."""
        self.in_flight -= 1
        upstream.dropped(call)
        self.look()

    def _begin(self, upstream: Upstream, prompt: Prompt) -> Call:
        self.in_flight += 1
        return upstream.begin(prompt, self._loop.time())

    def look(self) -> None:
        """Lets those at the front of the lines go for whom there is an upstream now; looks again when there may be one."""
        again = min((self._move(order, line) for order, line in self._lines.items()), default=math.inf)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if again == math.inf else self._loop.call_at(again, self.look)

    def _move(self, order: Order, line: deque[_Waiter]) -> float:
        """Lets the front of one line go; returns when to look again."""
        while line:
            waiter = line[0]
            if not waiter.admitted.done():
                upstream, at = self._choose(waiter.prompt, waiter.avoided, order)
                if upstream is None:
                    return at
                waiter.admitted.set_result((upstream, self._begin(upstream, waiter.prompt)))
            line.popleft()
        return math.inf

    def _choose(self, prompt: Prompt, avoided: Set[Upstream], order: Order) -> tuple[Upstream | None, float]:
        """(the upstream to call now, ...) or (None, when to look again)."""
        now = self._loop.time()
        soonest = math.inf
        for shunned in (False, True) if avoided else (False,):
            for tier in self._in_reserve(order, now):
                best: Upstream | None = None
                first = soon = math.inf
                for upstream in self._tiers[tier]:
                    if (upstream in avoided) is not shunned:
                        continue
                    at = upstream.admits_at(prompt, now)
                    first = min(first, at)
                    if at > now:
                        soon = min(soon, at if upstream.breaker.state(now) == "closed" else math.inf)
                    elif best is None or upstream.preference(now) > best.preference(now):
                        best = upstream
                if best is not None:
                    return best, now
                soonest = min(soonest, first)
                if soon <= now + PATIENCE_S:
                    return None, soon
        return None, soonest

    def _in_reserve(self, order: Order, now: float) -> Order:
        """The order, and behind it all others while nobody in it can be asked."""
        if len(order) == len(self._tiers):
            return order
        if any(upstream.breaker.state(now) == "closed" for tier in order for upstream in self._tiers[tier]):
            return order
        return (*order, *(at for at in range(len(self._tiers)) if at not in order))


def _price(upstream: Upstream) -> float:
    return upstream.known.price.output if upstream.known.price else 0.0


_OPENNESS = {"closed": 0.0, "half_open": 0.5, "open": 1.0}
_FIX = {
    Trouble.CREDENTIALS: "the key is refused: set a valid one and restart the workers; turns wait in Kafka meanwhile",
    Trouble.SPENDING_LIMIT: "the account's spending limit is reached: raise it at the provider",
}
