"""Admission: how many turns a second are taken of each user, of each tenant and of all. Pure: times are arguments."""

from __future__ import annotations

import math
from typing import NamedTuple

from cachetools import LRUCache


class LimitReached(NamedTuple):
    """Whose limit is reached, and after how many seconds to try again."""

    whose: str
    retry_after_s: float


class Throughput:
    """How many came a second, lately: one that came `SPAN_S` seconds ago counts a third of one that comes now."""

    SPAN_S = 10.0
    __slots__ = ("_at", "_rate")

    def __init__(self, now: float) -> None:
        self._rate, self._at = 0.0, now

    def note(self, now: float) -> None:
        """Counts one more."""
        self._rate, self._at = self.rate(now) + 1.0 / self.SPAN_S, now

    def rate(self, now: float) -> float:
        """The number a second."""
        return self._rate * math.exp((self._at - now) / self.SPAN_S)


class TokenBucket:
    """Fills at a rate and holds ``burst`` tokens at most. Times are of any steady clock, in seconds."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def wait_s(self, now: float) -> float:
        """Seconds until one may be taken; 0 when it may be now."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        # Just short of one is one: waiting as long as it said must be enough.
        return 0.0 if self._tokens > 1.0 - 1e-9 else (1.0 - self._tokens) / self._rate

    def used(self, now: float) -> float:
        """Which share of it is used; at 1 no token is left."""
        self.wait_s(now)
        return min(1.0, 1.0 - self._tokens / self._burst)

    def take(self) -> None:
        """Takes one; ask `wait_s` first."""
        self._tokens -= 1.0


class TurnAdmission:
    """Token buckets of each user, each tenant and of all."""

    REMEMBERED = 50_000
    """Users and tenants. One that is forgotten begins with a full bucket again."""

    def __init__(self, *, everyone: float, tenant: float, user: float, user_burst: float, now: float) -> None:
        """Rates in turns a second; a tenant and everyone together may send two seconds' worth at once."""
        self._user, self._user_burst, self._tenant = user, user_burst, tenant
        self._everyone = TokenBucket(everyone, max(1.0, 2 * everyone), now)
        self._rate, self._most = Throughput(now), everyone
        self._buckets: LRUCache[tuple[str, str], TokenBucket] = LRUCache(self.REMEMBERED)

    def admit(self, user: str | None, tenant: str | None, now: float) -> LimitReached | None:
        """Takes one token of each bucket, or of none; None when the turn is admitted."""
        asked = {"the gateway": self._everyone}
        if tenant is not None:
            asked[f"tenant {tenant}"] = self._bucket("tenant", tenant, self._tenant, max(1.0, 2 * self._tenant), now)
        if user is not None:
            asked[f"user {user}"] = self._bucket("user", user, self._user, self._user_burst, now)
        waits = {whose: bucket.wait_s(now) for whose, bucket in asked.items()}
        longest = max(waits, key=lambda whose: waits[whose])
        if waits[longest] > 0:
            return LimitReached(longest, waits[longest])
        for bucket in asked.values():
            bucket.take()
        self._rate.note(now)
        return None

    def used(self, now: float) -> float:
        """Which share of the rate of all together is used, lately or by a burst; 1 is all of it.

        The bucket alone would say nothing before it is empty: up to the allowed rate it stays full.
        """
        return max(self._everyone.used(now), min(1.0, self._rate.rate(now) / self._most))

    def _bucket(self, kind: str, name: str, rate: float, burst: float, now: float) -> TokenBucket:
        bucket = self._buckets.get((kind, name))
        if bucket is None:
            bucket = self._buckets[kind, name] = TokenBucket(rate, burst, now)
        return bucket
