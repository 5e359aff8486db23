"""The rate-limit headers: of a key with a quota, or of the generous one that nobody is held to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from .sliding_window import SlidingWindow

REQUESTS_PER_MINUTE = 1_000_000
INPUT_TOKENS_PER_MINUTE = 2_000_000_000
OUTPUT_TOKENS_PER_MINUTE = 400_000_000
# High enough that a worker that slows down when little remains never slows down here.


class Rates(Protocol):
    """What the rate-limit headers tell."""

    def anthropic_headers(self, now: float, exhausted_s: float | None) -> bytes:
        """The `anthropic-ratelimit-*` lines; `exhausted_s` shows no requests left for that many seconds."""

    def openai_headers(self, now: float, exhausted_s: float | None) -> bytes:
        """The six `x-ratelimit-*` lines."""


@dataclass(slots=True)
class MinuteUsage:
    """What the current minute has used, where no quota is set. It only counts: nothing is refused because of it."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    resets_at: float = 0.0
    """Unix seconds at which the counters start again."""
    _reset_text: bytes = b""

    def spend(self, now: float, input_tokens: int, output_tokens: int) -> None:
        """Count one call at Unix time `now`."""
        if now >= self.resets_at:
            self.requests = self.input_tokens = self.output_tokens = 0
            self.resets_at = (now // 60 + 1) * 60
            self._reset_text = rfc3339(self.resets_at)
        self.requests += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def anthropic_headers(self, now: float, exhausted_s: float | None) -> bytes:
        """The nine lines of a call without a quota."""
        resets = self._reset_text or rfc3339(now)
        return b"".join(
            (
                _anthropic_group(
                    b"requests",
                    REQUESTS_PER_MINUTE,
                    0 if exhausted_s is not None else REQUESTS_PER_MINUTE - self.requests,
                    resets if exhausted_s is None else rfc3339(now + exhausted_s),
                ),
                _anthropic_group(
                    b"input-tokens", INPUT_TOKENS_PER_MINUTE, INPUT_TOKENS_PER_MINUTE - self.input_tokens, resets
                ),
                _anthropic_group(
                    b"output-tokens", OUTPUT_TOKENS_PER_MINUTE, OUTPUT_TOKENS_PER_MINUTE - self.output_tokens, resets
                ),
            )
        )

    def openai_headers(self, now: float, exhausted_s: float | None) -> bytes:
        """The six `x-ratelimit-*` lines."""
        left_s = max(self.resets_at - now, 0.0)
        used = self.input_tokens + self.output_tokens
        return _openai_groups(
            REQUESTS_PER_MINUTE,
            0 if exhausted_s is not None else REQUESTS_PER_MINUTE - self.requests,
            left_s if exhausted_s is None else exhausted_s,
            INPUT_TOKENS_PER_MINUTE,
            INPUT_TOKENS_PER_MINUTE - used,
            left_s,
        )


@dataclass(frozen=True, slots=True)
class Metered:
    """What one API key has left in its sliding window. It resets when the window is empty: that is a full quota."""

    window: SlidingWindow
    requests: int | None
    """Calls that the window may hold; None when only tokens are limited."""
    tokens: int | None
    """Input and output tokens that the window may hold; None when only calls are limited."""

    def anthropic_headers(self, now: float, exhausted_s: float | None) -> bytes:
        """Twelve lines where tokens are limited, else nine.

        One limit on all tokens is the `tokens` group. The input and output groups tell the same, for neither kind
        can get more, and a client that reads only those must not take the tokens for free.
        """
        window = self.window
        window.advance(now)
        resets = rfc3339(now + window.empty_in_s(now))
        calls = REQUESTS_PER_MINUTE if self.requests is None else self.requests
        groups = [
            _anthropic_group(
                b"requests",
                calls,
                0 if exhausted_s is not None else calls - window.calls,
                resets if exhausted_s is None else rfc3339(now + exhausted_s),
            )
        ]
        if self.tokens is None:
            limits = {b"input-tokens": INPUT_TOKENS_PER_MINUTE, b"output-tokens": OUTPUT_TOKENS_PER_MINUTE}
        else:
            limits = dict.fromkeys((b"input-tokens", b"output-tokens", b"tokens"), self.tokens)
        groups += [_anthropic_group(what, limit, limit - window.tokens, resets) for what, limit in limits.items()]
        return b"".join(groups)

    def openai_headers(self, now: float, exhausted_s: float | None) -> bytes:
        """The six lines, which know only one group of tokens."""
        window = self.window
        window.advance(now)
        left_s = window.empty_in_s(now)
        calls = REQUESTS_PER_MINUTE if self.requests is None else self.requests
        tokens = INPUT_TOKENS_PER_MINUTE if self.tokens is None else self.tokens
        return _openai_groups(
            calls,
            0 if exhausted_s is not None else calls - window.calls,
            left_s if exhausted_s is None else exhausted_s,
            tokens,
            tokens - window.tokens,
            left_s,
        )


def rfc3339(unix_s: float) -> bytes:
    """Unix seconds as `2026-11-21T01:00:00Z`, rounded up: earlier would be too early."""
    return datetime.fromtimestamp(math.ceil(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def duration(seconds: float) -> bytes:
    """Seconds as OpenAI writes them: `12ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return b"%dms" % max(int(seconds * 1000), 0)
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".").encode() + b"s"
    minutes, rest = divmod(int(seconds), 60)
    return b"%dm%ds" % (minutes, rest)


def _anthropic_group(what: bytes, limit: int, remaining: int, reset: bytes) -> bytes:
    return (
        b"anthropic-ratelimit-%b-limit: %d\r\nanthropic-ratelimit-%b-remaining: %d\r\n"
        b"anthropic-ratelimit-%b-reset: %b\r\n"
    ) % (what, limit, what, max(remaining, 0), what, reset)


def _openai_groups(
    requests: int, requests_left: int, requests_reset_s: float, tokens: int, tokens_left: int, tokens_reset_s: float
) -> bytes:
    return (
        b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\n"
        b"x-ratelimit-reset-requests: %b\r\nx-ratelimit-limit-tokens: %d\r\n"
        b"x-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %b\r\n"
    ) % (
        requests,
        max(requests_left, 0),
        duration(requests_reset_s),
        tokens,
        max(tokens_left, 0),
        duration(tokens_reset_s),
    )
