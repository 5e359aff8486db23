"""Budget: ceilings on spending, kept by reserving each call's cost before it is made. Pure: times are arguments.

What was spent is in the store, shared by all workers that use it; each turn reads it when it begins. Calls under way are
known only to their own worker. So the ceiling is passed by no more than the calls that other workers have under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from forebay.schemas import Spending
from forebay.workers.spent import HOUR_S, Spent

Verdict = Literal["free", "economy", "stop"]
EVERYONE = ""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """USD for each clock hour and day (UTC); None is no ceiling."""

    hour_usd: float | None = None
    day_usd: float | None = None
    tenant_hour_usd: float | None = None
    tenant_day_usd: float | None = None
    near: float = 0.8
    """Share of a ceiling after which cheaper models answer."""

    def of(self, scope: str) -> tuple[float | None, float | None]:
        """The ceilings of everyone or of one tenant."""
        if scope == EVERYONE:
            return self.hour_usd, self.day_usd
        return self.tenant_hour_usd, self.tenant_day_usd

    def scopes(self, tenant: str | None) -> tuple[str, ...]:
        """The scopes whose budgets a turn of this tenant counts against, named as in the store."""
        everyone = () if self.of(EVERYONE) == (None, None) else (EVERYONE,)
        return everyone if self.of("tenant") == (None, None) else (*everyone, f"tenant:{tenant or ''}")


@dataclass(slots=True)
class _Account:
    hour: int = 0
    in_hour: float = 0.0
    in_day: float = 0.0
    pending: float = 0.0  # reserved by calls under way, or spent and not yet in the store

    def turn_to(self, hour: int) -> None:
        if hour != self.hour:
            if hour // 24 != self.hour // 24:
                self.in_day = 0.0
            self.hour, self.in_hour = hour, 0.0


@dataclass(slots=True)
class Budget:
    """What may still be spent, as far as this worker knows."""

    ceilings: Ceilings
    _accounts: dict[str, _Account] = field(default_factory=dict)
    _own: _Account = field(default_factory=_Account)  # what this worker has recorded since it started

    def learn(self, spent: Mapping[str, Spent]) -> None:
        """Takes the store's figure. Spending only grows within an hour, so a lower figure is old and ignored."""
        for scope, known in spent.items():
            account = self._account(scope, known.hour)
            if known.hour == account.hour:
                account.in_hour = max(account.in_hour, known.in_hour)
                account.in_day = max(account.in_day, known.in_day)

    def verdict(self, scopes: Iterable[str], usd: float, now: float) -> Verdict:
        """Whether a call of so many USD may be made; ``now`` in seconds since the epoch."""
        used = max((share for scope in scopes for share in self._shares(scope, usd, now)), default=0.0)
        return "stop" if used > 1.0 else "economy" if used > self.ceilings.near else "free"

    def reserve(self, scopes: Iterable[str], usd: float) -> None:
        """Reserves the cost of a call that is about to be made; a negative amount gives back what it did not use."""
        for scope in scopes:
            self._accounts[scope].pending += usd

    def recorded(self, scopes: Iterable[str], usd: float, now: float) -> None:
        """The amount is in the store now, and no longer only reserved here."""
        if usd:
            self._own.turn_to(int(now) // HOUR_S)
            self._own.in_hour += usd
            self._own.in_day += usd
        for scope in scopes:
            account = self._account(scope, int(now) // HOUR_S)
            account.pending -= usd
            account.in_hour += usd
            account.in_day += usd

    def used(self, now: float) -> float:
        """Share of everyone's tightest ceiling that is used."""
        return max(self._shares(EVERYONE, 0.0, now), default=0.0)

    def spending(self, now: float) -> Spending:
        """What was spent: by everyone where there is a ceiling for everyone, else by this worker since it started."""
        hour, day = self.ceilings.of(EVERYONE)
        shared, at = (hour, day) != (None, None), int(now) // HOUR_S
        account = self._account(EVERYONE, at) if shared else self._own
        if not shared:
            account.turn_to(max(at, account.hour))
        return Spending(
            hour_usd=account.in_hour,
            day_usd=account.in_day,
            hour_ceiling_usd=hour,
            day_ceiling_usd=day,
            shared=shared,
        )

    def _shares(self, scope: str, usd: float, now: float) -> Iterator[float]:
        account = self._account(scope, int(now) // HOUR_S)
        for ceiling, spent in zip(self.ceilings.of(scope), (account.in_hour, account.in_day), strict=True):
            if ceiling is not None:
                yield (spent + account.pending + usd) / ceiling if ceiling else 2.0

    def _account(self, scope: str, hour: int) -> _Account:
        account = self._accounts.setdefault(scope, _Account(hour))
        if hour > account.hour:
            account.turn_to(hour)
        return account
