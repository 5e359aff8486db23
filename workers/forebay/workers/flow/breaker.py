"""A circuit breaker: stops calls to what keeps failing, and tries again with one call at a time. Pure: times are arguments.

After Michael Nygard, "Release It!" (2007): closed, open, half-open.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long."""

    failures: int = 10
    """Failures in a row that open it."""
    share: float = 0.5
    """Share of failed calls in the window that opens it, failures in a row or not."""
    window_s: float = 30.0
    least_calls: int = 20
    """Calls in the window before their share says anything."""
    open_s: float = 30.0
    """Seconds until one call may try again."""


class Breaker:
    """One breaker. Every call takes a ticket from `admit` and brings it back to exactly one of the other methods."""

    def __init__(self, policy: BreakerPolicy = BreakerPolicy()) -> None:
        self._policy = policy
        self._round = 0  # raised whenever the breaker changes: what began before says nothing about now
        self._opened_until: float | None = None
        self._probing = False
        self._calls: deque[tuple[float, bool]] = deque()
        self._failed_calls = 0
        self.failures_in_row = 0
        self.reason = ""
        """Why it opened last."""

    def state(self, now: float) -> BreakerState:
        """``closed``, ``open`` or ``half_open``."""
        if self._opened_until is None:
            return "closed"
        return "open" if now < self._opened_until else "half_open"

    def admits_at(self, now: float) -> float:
        """The time at which a call may begin: ``now``, later, or infinity while a single call tries for all."""
        if self._opened_until is None:
            return now
        return math.inf if self._probing else max(now, self._opened_until)

    def admit(self, now: float) -> int:
        """A ticket for one call; ask `admits_at` first."""
        if self._opened_until is not None:
            self._probing = True
        return self._round

    def succeeded(self, ticket: int, now: float) -> None:
        """The call was answered."""
        if ticket != self._round:
            return
        self.failures_in_row = 0
        if self._opened_until is not None:
            self._change(None, "")
        else:
            self._note(now, failed=False)

    def failed(self, ticket: int, now: float, *, counts_in_share: bool = True, error: str = "") -> bool:
        """The call failed because of the provider, not because of the request. Returns whether this opened the breaker.

        ``error`` is what the call failed with, for the reason.

        A refusal because of load (``counts_in_share`` false) is normal at the edge of a quota: only many in a row open.
        """
        if ticket != self._round:
            return False
        self.failures_in_row += 1
        if counts_in_share:
            self._note(now, failed=True)
        reason = self._reason_to_open(f": {error}" if error else "")
        if reason:
            self._change(now + self._policy.open_s, reason)
        return bool(reason)

    def dropped(self, ticket: int) -> None:
        """The call says nothing about the provider: it was cancelled, or refused for its content."""
        if ticket == self._round:
            self._probing = False

    def trip(self, now: float, reason: str, ticket: int | None = None) -> bool:
        """Opens it at once, whatever the counts are; ignored when ``ticket`` is of a call from before the last change."""
        if ticket is not None and ticket != self._round:
            return False
        self._change(now + self._policy.open_s, reason)
        return True

    def _reason_to_open(self, error: str) -> str:
        policy = self._policy
        if self._opened_until is not None:
            return self.reason  # the one call that tried failed too
        if self.failures_in_row >= policy.failures:
            return f"{self.failures_in_row} failures in a row{error}"
        if len(self._calls) >= policy.least_calls and self._failed_calls > policy.share * len(self._calls):
            return f"{self._failed_calls} of {len(self._calls)} calls failed within {policy.window_s:g} s{error}"
        return ""

    def _note(self, now: float, *, failed: bool) -> None:
        self._calls.append((now, failed))
        self._failed_calls += failed
        while self._calls[0][0] < now - self._policy.window_s:
            self._failed_calls -= self._calls.popleft()[1]

    def _change(self, opened_until: float | None, reason: str) -> None:
        self._round += 1
        self._opened_until = opened_until
        self._probing = False
        self.reason = reason
        self._calls.clear()
        self._failed_calls = 0
