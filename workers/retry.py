"""Retry: whether a failed call is made again, and after how long. Pure: randomness and time are arguments.

Full jitter (``uniform(0, min(cap, base * 2**n))``), after "Exponential Backoff And Jitter", AWS Architecture Blog: of the
simple schemes it makes the fewest calls for the same time to completion.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of the retries of one turn."""

    attempts: int = 6
    """Calls in all, the first included."""
    base_s: float = 0.5
    """Upper end of the first wait, in seconds."""
    cap_s: float = 20.0
    """Longest wait that we choose ourselves, in seconds."""
    retry_after_cap_s: float = 60.0
    """Longest wait that a provider may ask for, in seconds."""

    def delay_s(self, attempt: int, retry_after_s: float | None, left_s: float, uniform: float) -> float | None:
        """Seconds to wait after the failed ``attempt`` (counted from 1), or None to give up.

        ``left_s`` is the time until the turn's deadline, ``uniform`` a random number in [0, 1).
        """
        if attempt >= self.attempts:
            return None
        delay = uniform * min(self.cap_s, self.base_s * 2 ** (attempt - 1))
        if retry_after_s is not None:
            delay += min(retry_after_s, self.retry_after_cap_s)
        return delay if delay < left_s else None
