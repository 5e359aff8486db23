"""Lets calls in or says which limit they exceed, and counts those that came in."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forebay.rehearsal.model_api.stats import KeyStats, key_name

from .provider_limits import Limit, Limits, Outage
from .rate_headers import Metered
from .sliding_window import SlidingWindow

MAX_KEYS = 10_000
"""API keys whose calls are counted; the one first seen is forgotten first."""


@dataclass(frozen=True, slots=True)
class Exceeded:
    """Why a call does not come in."""

    limit: Limit
    wait_s: float | None
    """Seconds until there is room; None when that cannot be told or never comes."""


@dataclass(slots=True)
class KeyAccount:
    """What one API key did at one vendor."""

    window: SlidingWindow
    accepted: int = 0


class ProviderGate:
    """The limits in force and what is counted against them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.limited = limits.limited
        """Whether any limit is set. It is asked on every call, and most APIs have none."""
        self.accepted = 0
        """Calls that came in."""
        self.working = 0
        """Those that are not over."""
        self.peak_working = 0
        """Most of them at once since `max_in_flight` last changed."""
        self._first = limits
        self._accounts: dict[tuple[str, bytes], KeyAccount] = {}
        self._held: dict[Callable[[], None], None] = {}

    def account(self, provider: str, key: bytes) -> KeyAccount:
        """The account of an API key at a vendor, opened on its first call."""
        found = self._accounts.get((provider, key))
        if found is None:
            if len(self._accounts) >= MAX_KEYS:
                del self._accounts[next(iter(self._accounts))]
            found = self._accounts[provider, key] = KeyAccount(SlidingWindow(self.limits.window_s))
        return found

    def exceeded(self, account: KeyAccount, tokens: int, now: float) -> Exceeded | None:
        """The limit that a call of so many tokens would exceed at `now`; None lets it in."""
        limits = self.limits
        if limits.max_in_flight is not None and self.working >= limits.max_in_flight:
            return Exceeded(Limit.IN_FLIGHT, limits.retry_after_s)
        if not (limits.metered and limits.enforce):
            return None
        account.window.advance(now)
        return over_quota(limits, account.window, tokens, now)

    def spend(self, account: KeyAccount, tokens: int, now: float) -> None:
        """Count a call against its key's quota, in full, whatever becomes of it."""
        if self.limits.metered:
            account.window.add(now, tokens)

    def enter(self, account: KeyAccount) -> None:
        """A call came in."""
        account.accepted += 1
        self.accepted += 1
        self.working += 1
        if self.working > self.peak_working:
            self.peak_working = self.working

    def leave(self) -> None:
        """A call that came in is over."""
        self.working -= 1

    def rates(self, account: KeyAccount) -> Metered | None:
        """What the key's rate-limit headers tell; None without a quota."""
        limits = self.limits
        if not limits.metered:
            return None
        return Metered(account.window, limits.requests_per_minute, limits.tokens_per_minute)

    def change(self, fields: Mapping[str, Any]) -> None:
        """Put other limits in force, and restart the peaks that belong to a changed one. Raises ModelApiError."""
        self._put(self.limits.changed(fields))

    def reset(self) -> None:
        """Put the limits of the start in force again."""
        self._put(self._first)

    def _put(self, new: Limits) -> None:
        old, self.limits, self.limited = self.limits, new, new.limited
        if new.max_in_flight != old.max_in_flight:
            self.peak_working = 0
        for account in self._accounts.values():
            if new.window_s != old.window_s or new.metered != old.metered:
                account.window = SlidingWindow(new.window_s)
            elif _quota(new) != _quota(old):
                account.window.forget_peaks()
        if old.outage is Outage.HANG and new.outage is not Outage.HANG:
            held, self._held = self._held, {}
            for release in held:
                release()

    def hold(self, release: Callable[[], None]) -> None:
        """Call `release` once when hanging calls may go on."""
        self._held[release] = None

    def drop(self, release: Callable[[], None]) -> None:
        """Forget a held call, if it is one."""
        self._held.pop(release, None)

    def keys(self, now: float) -> dict[str, dict[str, KeyStats]]:
        """Provider to API key to its counts."""
        shown: dict[str, dict[str, KeyStats]] = {}
        for (provider, key), account in self._accounts.items():
            window = account.window
            window.advance(now)
            counts = KeyStats(account.accepted, window.calls, window.peak_calls, window.tokens, window.peak_tokens)
            shown.setdefault(provider, {})[key_name(key)] = counts
        return shown


def api_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The key of a call in either vendor's header; empty without one."""
    key = headers.get(b"x-api-key") or headers.get(b"authorization", b"")
    return key[7:].strip() if key[:7].lower() == b"bearer " else key


def over_quota(limits: Limits, window: SlidingWindow, tokens: int, now: float) -> Exceeded | None:
    """The quota that keeps a call of so many tokens out the longest; None when there is room in both."""
    calls_s = tokens_s = 0.0
    if limits.requests_per_minute is not None:
        calls_s = window.call_fits_in_s(now, limits.requests_per_minute)
    if limits.tokens_per_minute is not None:
        tokens_s = window.tokens_fit_in_s(now, tokens, limits.tokens_per_minute)
    if calls_s <= 0 and tokens_s <= 0:
        return None
    limit = Limit.TOKENS if tokens_s >= calls_s else Limit.REQUESTS
    wait_s = max(calls_s, tokens_s)
    return Exceeded(limit, wait_s if math.isfinite(wait_s) else None)


def _quota(limits: Limits) -> tuple[int | None, int | None]:
    return limits.requests_per_minute, limits.tokens_per_minute
