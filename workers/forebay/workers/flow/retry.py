"""Retry: what to do after a failed call. Pure: randomness and time are arguments.

Full jitter (``uniform(0, min(cap, base * 2**n))``), after "Exponential Backoff And Jitter", AWS Architecture Blog: of the
simple schemes it makes the fewest calls for the same time to completion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from forebay.workers.models import RETRYABLE, Trouble

Step = Literal["again", "elsewhere", "shorter", "give_up"]


class Next(NamedTuple):
    """The next step, and the seconds to wait before it."""

    step: Step
    delay_s: float = 0.0


@dataclass(slots=True)
class Tries:
    """The tries of one turn so far."""

    failures: int = 0
    """Failed calls that may be tried again."""
    in_a_row_here: int = 0
    """Of these, the last ones at the same upstream."""
    shortened: bool = False
    """Whether the prompt is as short as it can be."""


class Circumstances(NamedTuple):
    """What a decision depends on besides the turn's own tries."""

    left_s: float
    """Seconds until the turn's deadline."""
    retry_after_s: float | None
    """Seconds that the provider asks to wait."""
    others: bool
    """Whether another upstream could be called."""
    fails_others: bool
    """Whether the upstream failed other turns too and has answered none since."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of the retries of one turn; its deadline bounds them all."""

    attempts: int = 8
    """Failed calls after which a turn is given up, which takes about half a minute.

    Not while there is no connection, or while the provider fails others too: that is an outage, which must not fill the
    dead letters. Then only the deadline ends the waiting.
    """
    attempts_here: int = 2
    """Failed calls at one upstream after which another one is asked."""
    base_s: float = 0.5
    """Upper end of the first wait, in seconds."""
    cap_s: float = 20.0
    """Longest wait that we choose ourselves, in seconds."""
    retry_after_cap_s: float = 60.0
    """Longest wait that a provider may ask for, in seconds."""

    def after(self, trouble: Trouble, tries: Tries, now: Circumstances, uniform: float) -> Next:
        """The next step after a call failed; ``tries`` counts it already. ``uniform`` is a random number in [0, 1)."""
        if trouble is Trouble.CONTEXT and not tries.shortened:
            return Next("shorter")
        if trouble in (Trouble.CONTEXT, Trouble.CREDENTIALS, Trouble.SPENDING_LIMIT):
            return Next("elsewhere" if now.others else "give_up")
        outage = trouble is Trouble.CONNECTION or now.fails_others
        if trouble not in RETRYABLE or (tries.failures >= self.attempts and not outage):
            return Next("give_up")
        delay = self._delay_s(tries.failures, now.retry_after_s, uniform)
        if now.others and (tries.in_a_row_here >= self.attempts_here or delay >= now.left_s):
            return Next("elsewhere")
        return Next("again", delay) if delay < now.left_s else Next("give_up")

    def _delay_s(self, failures: int, retry_after_s: float | None, uniform: float) -> float:
        delay = uniform * min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 30))
        return delay + min(retry_after_s or 0.0, self.retry_after_cap_s)
