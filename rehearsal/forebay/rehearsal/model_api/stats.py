"""Counts what the simulated API was asked and what it answered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from forebay.rehearsal.model_api.limits.provider_limits import Limit

MAX_TURNS = 1_000_000
"""Turns whose calls are counted; the one first seen is forgotten first."""
MAX_KEY_CHARS = 200
"""A longer text is counted under its first characters and a digest."""
MAX_SHOWN_KEY_CHARS = 32
"""A longer API key may be a real one: it is shown as its first characters and a digest."""
REFUSED = {**{limit.value: f"over_{limit}" for limit in Limit}, "outage": "outage"}
"""What keeps a call out, to the outcome under which such calls are counted."""

_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class KeyStats:
    """What one API key did at one vendor. The window is counted while requests or tokens per minute are limited."""

    accepted: int = 0
    """Calls that no limit, outage or instant refusal kept out."""
    window_requests: int = 0
    """Accepted calls in the window that ends now."""
    peak_window_requests: int = 0
    """Most of them in any window since the quota last changed."""
    window_tokens: int = 0
    """Input and output tokens of the accepted calls in the window that ends now."""
    peak_window_tokens: int = 0
    """Most of them in any window since the quota last changed."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The counts of one moment; `turns` is a live, read-only view."""

    calls: dict[str, dict[str, int]]
    """Provider to outcome (`ok`, a fault, `invalid_request`, `unauthorized`, `abandoned`, ...) to finished calls."""
    begun: int
    """Calls begun, finished or not."""
    in_flight: int
    """Calls begun and not finished, hanging ones included."""
    peak_in_flight: int
    """Most of them at once, also those about to be refused."""
    turns: Mapping[str, int]
    """`turn_key(last user text)` to the calls with that last user text, whatever became of them."""
    accepted: int = 0
    """Calls that no limit, outage or instant refusal kept out."""
    working: int = 0
    """Accepted calls not yet finished: what `max_in_flight` limits."""
    peak_working: int = 0
    """Most of them at once since `max_in_flight` last changed."""
    keys: Mapping[str, Mapping[str, KeyStats]] = field(default_factory=dict)
    """Provider to API key to its counts."""

    @property
    def refused(self) -> dict[str, int]:
        """Calls kept out, by the limit they exceeded or by an outage."""
        return {reason: self.outcome(name) for reason, name in REFUSED.items()}

    @property
    def window_tokens(self) -> int:
        """Tokens in the current window, of the key that has most."""
        return max((key.window_tokens for keys in self.keys.values() for key in keys.values()), default=0)

    @property
    def peak_window_tokens(self) -> int:
        """Most tokens in any window since the quota last changed, of the key that had most."""
        return max((key.peak_window_tokens for keys in self.keys.values() for key in keys.values()), default=0)

    def outcome(self, name: str) -> int:
        """Finished calls with that outcome, of both providers."""
        return sum(outcomes.get(name, 0) for outcomes in self.calls.values())

    def repeated(self) -> dict[str, int]:
        """The turns that were called more than once."""
        return {turn: calls for turn, calls in self.turns.items() if calls > 1}


class CallCounters:
    """The counters behind `Stats`."""

    def __init__(self, max_turns: int = MAX_TURNS) -> None:
        self._max_turns = max_turns
        self._calls: dict[str, dict[str, int]] = {"anthropic": {}, "openai": {}}
        self._turns: dict[str, int] = {}
        self.begun = 0
        self._in_flight = 0
        self._peak = 0

    def begin(self) -> None:
        """A call arrived."""
        self.begun += 1
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)

    def turn(self, text: str) -> int:
        """Count a call of the turn whose last user text this is; how many it makes."""
        key = turn_key(text)
        count = self._turns.get(key, 0) + 1
        if count == 1 and len(self._turns) >= self._max_turns:
            del self._turns[next(iter(self._turns))]
        self._turns[key] = count
        return count

    def finish(self, provider: str, outcome: str) -> None:
        """A call is over."""
        self._in_flight -= 1
        outcomes = self._calls[provider]
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    def snapshot(self) -> Stats:
        """The counts now."""
        calls = {provider: dict(outcomes) for provider, outcomes in self._calls.items()}
        return Stats(calls, self.begun, self._in_flight, self._peak, MappingProxyType(self._turns))


def turn_key(text: str) -> str:
    """The key under which a turn is counted: its last user text, or the start and a digest of a long one."""
    if len(text) <= MAX_KEY_CHARS:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{text[:MAX_KEY_CHARS]}#{digest}"


def key_name(key: bytes) -> str:
    """An API key as the statistics show it: as it is, or the start and a digest of a long one."""
    name = key.decode("latin-1")
    if len(name) <= MAX_SHOWN_KEY_CHARS:
        return name
    return f"{name[:8]}#{hashlib.blake2b(key, digest_size=_DIGEST_BYTES).hexdigest()}"
