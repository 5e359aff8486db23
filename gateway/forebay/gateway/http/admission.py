"""Admission: how many turns of whom, and how many connections. Pure: times are arguments."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from typing import NamedTuple


class Refusal(NamedTuple):
    """Why not, and when to try again."""

    whose: str
    retry_after_s: float


class Throughput:
    """How many a second, lately: what came `SPAN_S` seconds ago counts a third of what comes now. Times in seconds."""

    SPAN_S = 10.0
    __slots__ = ("_at", "_rate")

    def __init__(self, now: float) -> None:
        self._rate, self._at = 0.0, now

    def note(self, now: float) -> None:
        """One came."""
        self._rate, self._at = self.rate(now) + 1.0 / self.SPAN_S, now

    def rate(self, now: float) -> float:
        """So many a second."""
        return self._rate * math.exp((self._at - now) / self.SPAN_S)


class TokenBucket:
    """Fills at a rate and holds so much at most; the time is of any steady clock, in seconds."""

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
        """How empty it is; 1 is no token left."""
        self.wait_s(now)
        return min(1.0, 1.0 - self._tokens / self._burst)

    def take(self) -> None:
        """Takes one; ask `wait_s` first."""
        self._tokens -= 1.0


class Admission:
    """Token buckets of each user, each tenant and of all."""

    REMEMBERED = 50_000
    """Users and tenants; who is forgotten begins with a full bucket again."""

    def __init__(self, *, everyone: float, tenant: float, user: float, user_burst: float, now: float) -> None:
        """Rates in turns a second; a tenant and everyone together may send two seconds' worth at once."""
        self._user, self._user_burst, self._tenant = user, user_burst, tenant
        self._everyone = TokenBucket(everyone, max(1.0, 2 * everyone), now)
        self._rate, self._most = Throughput(now), everyone
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()

    def admit(self, user: str | None, tenant: str | None, now: float) -> Refusal | None:
        """Takes one turn of each bucket, or of none; None when it may come in."""
        asked = {"the gateway": self._everyone}
        if tenant is not None:
            asked[f"tenant {tenant}"] = self._bucket("tenant", tenant, self._tenant, max(1.0, 2 * self._tenant), now)
        if user is not None:
            asked[f"user {user}"] = self._bucket("user", user, self._user, self._user_burst, now)
        waits = {whose: bucket.wait_s(now) for whose, bucket in asked.items()}
        longest = max(waits, key=lambda whose: waits[whose])
        if waits[longest] > 0:
            return Refusal(longest, waits[longest])
        for bucket in asked.values():
            bucket.take()
        self._rate.note(now)
        return None

    def used(self, now: float) -> float:
        """How much of the rate of all together is used: lately, or what a burst has left of it; 1 is all of it.

        A bucket alone says nothing before it is empty: it stays full up to the last turn a second.
        """
        return max(self._everyone.used(now), min(1.0, self._rate.rate(now) / self._most))

    def _bucket(self, kind: str, name: str, rate: float, burst: float, now: float) -> TokenBucket:
        bucket = self._buckets.get((kind, name))
        if bucket is None:
            bucket = self._buckets[kind, name] = TokenBucket(rate, burst, now)
            if len(self._buckets) > self.REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end((kind, name))
        return bucket


class Connections:
    """How many are open, of each user and of all."""

    def __init__(self, *, everyone: int, user: int) -> None:
        self._everyone, self._user = everyone, user
        self._open: Counter[str] = Counter()
        self.count = 0

    def enter(self, user: str | None) -> Refusal | None:
        """One more; None when there is room. What is let in must `leave`."""
        if self.count >= self._everyone:
            return Refusal("the gateway", 5.0)
        if user is not None and self._open[user] >= self._user:
            return Refusal(f"user {user}", 5.0)
        self.count += 1
        if user is not None:
            self._open[user] += 1
        return None

    @property
    def used(self) -> float:
        """Open ones as a share of what all together may open."""
        return self.count / self._everyone

    def leave(self, user: str | None) -> None:
        """One less."""
        self.count -= 1
        if user is not None:
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]


class Streaming:
    """Whether turns are streamed now, or answered whole because there are too many. With hysteresis, so that it is calm."""

    def __init__(self, *, wait_s: float, deltas: float) -> None:
        """The estimated waiting, and the deltas a second, above which they are answered whole."""
        self._wait_s, self._deltas = wait_s, deltas
        self.on = True

    def note(self, wait_s: float, deltas: float) -> bool:
        """Takes what is measured now; returns whether turns are streamed."""
        load = max(wait_s / self._wait_s, deltas / self._deltas)
        self.on = load <= 1.0 if self.on else load < 0.5
        return self.on
