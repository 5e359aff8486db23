"""An upstream: one model with one key, its breaker, rate limits and token estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from forebay.schemas import Usage
from forebay.workers import metrics
from forebay.workers.models import RETRYABLE, CatalogueModel, Completion, Model, ModelError, Prompt, Trouble

from .breaker import Breaker, BreakerPolicy
from .estimate import TokenEstimate
from .limits import Amounts, RateLimit, Reservation
from .quotas import quotas

REFUSALS = frozenset({Trouble.OVERLOADED, Trouble.RATE_LIMITED})
"""Not failures: the provider works and has no room for us."""
_REST_AFTER = 3
"""Rounds of calls that were refused, none answered between them, until the upstream rests."""
_REST_S = 1.0
"""How long to rest where the provider does not say."""
_MOST_REST_S = 30.0
_ANSWERS_S = 5.0
"""For so long after the first refusal since the last answer, a refusal only says that there is no room for more."""
_READ_HEADERS_EVERY_S = 0.1


class Call(NamedTuple):
    """A call under way."""

    began: float
    ticket: int
    estimate: Amounts
    reservation: Reservation


class Upstream:
    """One model with one key. Times are in seconds of the event loop's clock."""

    def __init__(
        self,
        model: Model,
        known: CatalogueModel,
        key: str = "",
        policy: BreakerPolicy = BreakerPolicy(),
        limits: Amounts | None = None,
    ) -> None:
        """``key`` names the key without telling it, such as ``#1``; ``limits`` are per minute."""
        self.model, self.known, self.key = model, known, key
        self.name = f"{known.provider}/{model.name}{key}"
        self.label = metrics.MODELS(model.name)
        """What metrics call the model."""
        self.breaker = Breaker(policy)
        self.rate = RateLimit(limits)
        self._estimate = TokenEstimate()
        self._rests_until = -math.inf
        self._spared_until = -math.inf
        self._refused_at = -math.inf
        self._refusing_since = -math.inf
        self._refused_rounds = 0
        self._headers_read_at = -math.inf

    @property
    def bytes_a_token(self) -> float:
        """Bytes of UTF-8 a token of a prompt, learned from the usage of its replies."""
        return self._estimate.bytes_a_token

    def estimated_usd(self, prompt: Prompt) -> float:
        """What a call with this prompt will probably cost; 0 where the price is not known."""
        amounts = self._estimate.of(prompt)
        usage = Usage(input_tokens=int(amounts["input_tokens"]), output_tokens=int(amounts["output_tokens"]) + 1)
        return self.known.cost_usd(usage) or 0.0

    def estimated_usage(self, prompt: Prompt, said: str) -> Usage:
        """What a call has probably used that was ended when it had ``said`` this."""
        written = math.ceil(len(said.encode()) / self.bytes_a_token)
        return Usage(input_tokens=int(self._estimate.of(prompt)["input_tokens"]), output_tokens=written)

    def spent(self, usage: Usage, at: float) -> float | None:
        """Counts a call that was answered ``at`` seconds since the epoch; returns its cost in USD, None if not known."""
        cost_usd = self.known.cost_usd(usage, at)
        metrics.spent(self.label, usage, cost_usd)
        return cost_usd

    def admits_at(self, prompt: Prompt, now: float) -> float:
        """When it may be called with this prompt: ``now``, later, or infinity while one call tries for all."""
        at = max(self.breaker.admits_at(now), self._rests_until, now)
        if self.rate.limited and at < math.inf:
            at = max(at, self.rate.admits_at(self._estimate.of(prompt), now))
        return at

    def preference(self, now: float) -> tuple[bool, float]:
        """Of several keys for one model the largest goes first: one not asked to wait, then the one with most room."""
        return self._spared_until <= now, self.rate.room(now)

    def begin(self, prompt: Prompt, now: float) -> Call:
        """Begins a call and reserves its estimated usage; ask `admits_at` first."""
        amounts = self._estimate.of(prompt) if self.rate.limited else {}
        return Call(now, self.breaker.admit(now), amounts, self.rate.reserve(amounts, now))

    def answered(self, call: Call, prompt: Prompt, completion: Completion, now: float) -> None:
        """The call was answered."""
        self.breaker.succeeded(call.ticket, now)
        self._refused_rounds = 0
        usage = completion.usage
        self._estimate.learn(prompt, usage)
        if self.rate.limited:
            used = {
                "requests": 1.0,
                "tokens": usage.input_tokens + usage.output_tokens,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
            }
            self.rate.settle(call.reservation, used)
        self._read_headers(completion.headers, now)

    def failed(self, call: Call, error: ModelError, now: float) -> bool:
        """The call failed; returns whether the breaker opened because of it."""
        if error.trouble not in (Trouble.TIMEOUT, Trouble.MALFORMED, Trouble.SERVER):
            self.rate.settle(call.reservation, {})
        self._read_headers(error.headers, now)
        if error.trouble in REFUSALS:
            self._refused(call, error.retry_after_s, now)
            if now - self._refusing_since < _ANSWERS_S:
                self.breaker.dropped(call.ticket)
                return False
        if error.trouble in RETRYABLE:
            counts = error.trouble not in REFUSALS
            return self.breaker.failed(call.ticket, now, counts_in_share=counts, error=str(error))
        if error.trouble in (Trouble.CREDENTIALS, Trouble.SPENDING_LIMIT):
            return self.breaker.trip(now, str(error), call.ticket)
        self.breaker.dropped(call.ticket)
        return False

    def dropped(self, call: Call) -> None:
        """The call was cancelled; what it used is not known, so its estimate stays counted."""
        self.breaker.dropped(call.ticket)

    def _refused(self, call: Call, retry_after_s: float | None, now: float) -> None:
        """One refusal spares this key for others; several in a row, none answered between, mean that waiting helps all.

        A refusal alone does not: a provider that is full takes the next call as soon as one of ours has ended.
        """
        if not self._refused_rounds:
            self._refusing_since = now
        if call.began >= self._refused_at:  # sent with the last refusal known
            self._refused_at = now
            self._refused_rounds += 1
        self._spared_until = now + min(retry_after_s or _REST_S, _MOST_REST_S)
        if self._refused_rounds >= _REST_AFTER:
            self._rests_until = self._spared_until

    def _read_headers(self, headers: Mapping[str, str], now: float) -> None:
        if headers and now - self._headers_read_at >= _READ_HEADERS_EVERY_S:
            self._headers_read_at = now
            self.rate.correct(quotas(headers), now)
