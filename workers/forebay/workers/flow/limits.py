"""Rate limits of a key: a sliding window, corrected by the provider's headers. Pure.

A sliding window: in no 60 seconds more than the limit is used, wherever the provider's own minute begins. Each call
reserves its estimate before it begins and settles it when its true usage is known.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

WINDOW_S = 60.0
_SLOT_S = 0.25
"""What is used within so many seconds leaves the window together: costs at most 0.4% of the quota."""

Amounts = Mapping[str, float]
"""How much of each resource: ``requests``, ``tokens``, ``input_tokens``, ``output_tokens``."""


class Quota(NamedTuple):
    """One resource's limit as the provider's headers tell it."""

    limit: float | None
    """Per minute."""
    remaining: float | None
    reset_s: float | None = None
    """Seconds until the whole limit is available again."""


class _Told(NamedTuple):
    """The provider's last figure, less what was used since."""

    remaining: float
    at: float
    a_second: float
    """How fast it comes back."""


class QuotaWindow:
    """One resource of one key over the last `WINDOW_S` seconds."""

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        """For each `WINDOW_S`; None is not limited, or not known."""
        self._own = limit  # a header never raises what an operator has set
        self._slots: deque[list[float]] = deque()  # [number, amount], oldest first
        self._used = 0.0
        self._told: _Told | None = None

    def used(self, now: float) -> float:
        """The amount that counts against the limit now."""
        oldest = now // _SLOT_S - WINDOW_S / _SLOT_S
        while self._slots and self._slots[0][0] < oldest:
            self._used -= self._slots.popleft()[1]
        return self._used

    def room(self, now: float) -> float:
        """What is left now."""
        if self.limit is None:
            return math.inf
        room = self.limit - self.used(now)
        if self._told is not None:
            if self._told.at + WINDOW_S <= now:
                self._told = None
            else:
                room = min(room, self._told.remaining + self._told.a_second * (now - self._told.at))
        return room

    def admits_at(self, amount: float, now: float) -> float:
        """When there will be room for so much, if nothing else comes; an amount over the limit waits for an empty window."""
        if self.limit is None or self.room(now) >= (wanted := min(amount, self.limit)):
            return now
        at = now
        if (told := self._told) is not None:
            at = max(at, min(told.at + (wanted - told.remaining) / told.a_second, told.at + WINDOW_S))
        room = self.limit - self._used
        for number, used in self._slots:
            if room >= wanted:
                break
            room += used
            at = max(at, (number + 1) * _SLOT_S + WINDOW_S)
        return at

    def add(self, amount: float, now: float) -> float:
        """Counts this amount; returns the slot to `settle` it in."""
        number = now // _SLOT_S
        if self._slots and self._slots[-1][0] >= number:
            self._slots[-1][1] += amount
        else:
            self._slots.append([number, amount])
        self._used += amount
        if self._told is not None:
            self._told = self._told._replace(remaining=self._told.remaining - amount)
        return self._slots[-1][0]

    def settle(self, number: float, difference: float) -> None:
        """Corrects the amount that was added in that slot by a difference."""
        for slot in reversed(self._slots):
            if slot[0] == number:
                slot[1] += difference
                self._used += difference
                return

    def correct(self, quota: Quota, now: float) -> None:
        """Takes the provider's figures: its limit, and what remains, since others may use the same quota."""
        if quota.limit is not None and quota.limit > 0:
            self.limit = quota.limit if self._own is None else min(self._own, quota.limit)
        if quota.remaining is not None and self.limit is not None:
            missing = max(1.0, self.limit - quota.remaining)
            self._told = _Told(quota.remaining, now, missing / max(quota.reset_s or WINDOW_S, 0.001))


@dataclass(slots=True)
class Reservation:
    """What one call reserved of a key's quota."""

    amounts: Amounts
    slots: dict[str, float] = field(default_factory=dict)


class RateLimit:
    """All resources of one key."""

    def __init__(self, limits: Amounts | None = None) -> None:
        """``limits`` for each minute; resources that are not named are learned from the provider's headers."""
        self._windows = {name: QuotaWindow(limit) for name, limit in (limits or {}).items()}
        self.limited = bool(self._windows)
        """Whether any limit is known."""

    def admits_at(self, amounts: Amounts, now: float) -> float:
        """When a call of these amounts may begin: ``now`` or later."""
        return max(
            (window.admits_at(amounts.get(name, 0.0), now) for name, window in self._windows.items()), default=now
        )

    def room(self, now: float) -> float:
        """Share of the quota that is left, of the resource that has least: 1 is all of it."""
        return min((window.room(now) / window.limit for window in self._windows.values() if window.limit), default=1.0)

    def reserve(self, amounts: Amounts, now: float) -> Reservation:
        """Takes the estimate of a call; ask `admits_at` first."""
        slots = {name: window.add(amounts.get(name, 0.0), now) for name, window in self._windows.items() if amounts}
        return Reservation(amounts, slots)

    def settle(self, reservation: Reservation, used: Amounts) -> None:
        """Replaces the estimate by the call's true usage; a refused call used nothing."""
        for name, number in reservation.slots.items():
            self._windows[name].settle(number, used.get(name, 0.0) - reservation.amounts.get(name, 0.0))

    def correct(self, quotas: Mapping[str, Quota], now: float) -> None:
        """Takes the figures in a response's headers."""
        for name, quota in quotas.items():
            window = self._windows.get(name)
            if window is None:
                window = self._windows[name] = QuotaWindow()
                self.limited = True
            window.correct(quota, now)
