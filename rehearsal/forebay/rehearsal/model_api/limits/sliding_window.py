"""The calls and tokens of the last seconds: a sliding window, exact to the call, with the time as an argument."""

from __future__ import annotations

import math
from collections import deque


class SlidingWindow:
    """What was accepted within `length_s` seconds. A call counts from its moment until just before `length_s` later."""

    def __init__(self, length_s: float) -> None:
        self.length_s = length_s
        """Seconds."""
        self.tokens = 0
        """Tokens of the calls in the window."""
        self.peak_calls = 0
        """Most calls that any window held so far."""
        self.peak_tokens = 0
        """Most tokens that any window held so far."""
        self._entries: deque[tuple[float, int]] = deque()

    @property
    def calls(self) -> int:
        """Calls in the window."""
        return len(self._entries)

    def advance(self, now: float) -> None:
        """Drop what is `length_s` old at `now`."""
        entries = self._entries
        while entries and entries[0][0] + self.length_s <= now:
            self.tokens -= entries.popleft()[1]

    def add(self, now: float, tokens: int) -> None:
        """Count a call at `now`. A window is never fuller than just after a call, so the peaks are exact."""
        self.advance(now)
        self._entries.append((now, tokens))
        self.tokens += tokens
        self.peak_calls = max(self.peak_calls, len(self._entries))
        self.peak_tokens = max(self.peak_tokens, self.tokens)

    def forget_peaks(self) -> None:
        """Start the peaks again, with the next call."""
        self.peak_calls = self.peak_tokens = 0

    def call_fits_in_s(self, now: float, limit: int) -> float:
        """Seconds from `now`, to which the window must have advanced, until one more call keeps within `limit`."""
        surplus = len(self._entries) + 1 - limit
        return 0.0 if surplus <= 0 else self._entries[surplus - 1][0] + self.length_s - now

    def tokens_fit_in_s(self, now: float, tokens: int, limit: int) -> float:
        """The same for `tokens` more tokens; infinite when they exceed the limit by themselves."""
        if tokens > limit:
            return math.inf
        surplus, wait_s = self.tokens + tokens - limit, 0.0
        for at, spent in self._entries:
            if surplus <= 0:
                break
            surplus -= spent
            wait_s = at + self.length_s - now
        return wait_s

    def empty_in_s(self, now: float) -> float:
        """Seconds until the window is empty if nothing is added."""
        return self._entries[-1][0] + self.length_s - now if self._entries else 0.0
