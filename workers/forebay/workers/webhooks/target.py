"""A target: one destination at work. Its breaker, its rest, its slots, and the replies that wait for it."""

from __future__ import annotations

import asyncio
import math

from forebay.workers.flow.breaker import Breaker, BreakerPolicy
from forebay.workers.models import Trouble

from .attempt import Attempt
from .destinations import Destination
from .inbound_reply import InboundReply

_MOST_REST_S = 3600.0
"""Longest that a server may ask us to wait, in seconds."""


class Target:
    """State of one destination. Times are in seconds of the event loop's clock."""

    def __init__(self, tenant: str | None, destination: Destination, at_once: int, policy: BreakerPolicy) -> None:
        """``at_once`` bounds the requests under way."""
        self.label = tenant or "(default)"
        """What logs and metrics call it."""
        self.destination = destination
        self.breaker = Breaker(policy)
        self.slots = asyncio.Semaphore(at_once)
        self.held: dict[InboundReply, None] = {}
        """Replies that wait for it or are being sent."""
        self._rests_until = -math.inf

    def admits_at(self, now: float) -> float:
        """When a request may begin: ``now``, later, or infinity while one request tries for all."""
        return max(now, self._rests_until, self.breaker.admits_at(now))

    def down(self, now: float) -> bool:
        """Whether it cannot be reached now, or asked to be left alone."""
        return self._rests_until > now or self.breaker.state(now) != "closed"

    def settle(self, ticket: int, attempt: Attempt, now: float) -> bool:
        """Takes note of an attempt; returns whether the breaker opened because of it."""
        if attempt.trouble in (None, Trouble.REJECTED):
            self.breaker.succeeded(ticket, now)  # it answers: what it says is of this reply alone
            return False
        if attempt.retry_after_s:
            self._rests_until = max(self._rests_until, now + min(attempt.retry_after_s, _MOST_REST_S))
        counts = attempt.trouble is not Trouble.RATE_LIMITED
        return self.breaker.failed(ticket, now, counts_in_share=counts, error=attempt.says)
