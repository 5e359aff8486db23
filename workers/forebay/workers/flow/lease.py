"""One worker's lease of a quota that the whole fleet shares through Redis. Pure.

The fleet's count lies in Redis: what was used or leased in each slot of time (`lease.lua`). A worker leases what its next
calls need, so that one round trip serves many of them, and later tells in which slots it used it: the provider counts a
call when it comes, not when its quota was leased. What it does not use it gives back.

Times are seconds of the worker's clock; slots are numbered by the clock of Redis, so that they mean the same to all.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from .limits import Amounts

SLOTS = 240
"""To one window: what is used within one slot leaves the window together, and one slot late, since calls are some time
on their way. Both together cost 0.6% of the quota."""
HORIZON_S = 0.25
"""Demand is what was used within about so long, and a lease is twice that: fewer round trips against quota that lies idle."""
_LONGEST_HORIZON_S = 1.0
"""Where Redis is far: a lease must last for some round trips."""
BEAT_S = 1.0
"""Between two words to Redis while anything is held, or used within the window."""
_SOONEST_S = 0.01
"""Between a lease and the next."""
_SHORT_S = 0.1
"""Until more is leased ahead after there was less than wished."""
_LATEST_S = 0.25
"""Until one asks again who was refused: others give back."""
_NEED_S = 1.0
"""A need that nobody repeats is over so long after it was to be met."""

_DUST = 1e-6
"""Amounts smaller than this are rounding."""

Moves = dict[int, dict[str, float]]
"""What is to be added to the count, by slot and resource; negative where it was less, or moved away."""


class LeaseRequest(NamedTuple):
    """What to tell and ask."""

    moves: Moves
    need: Amounts
    """All of it or nothing: what one call lacks. Empty when none waits."""
    want: Amounts
    """As much of it as there is, including the need."""


class Lease:
    """One worker's part in one key's quota."""

    def __init__(self, window_s: float, ahead_s: float = 0.0) -> None:
        """``ahead_s``: how far the clock of Redis is ahead of the worker's, before Redis tells it."""
        self.slot_s = window_s / SLOTS
        self._ahead_s = ahead_s
        self._held: defaultdict[str, deque[list[float]]] = defaultdict(deque)  # [slot, amount], oldest first
        self._balance: defaultdict[str, float] = defaultdict(float)
        self._used: Moves = {}
        self._moves: Moves = {}
        self._demand: defaultdict[str, float] = defaultdict(float)
        self._demand_at = -math.inf
        self._horizon_s = HORIZON_S
        self._need: Amounts = {}
        self._need_until = -math.inf
        self._low = False
        self._ask_at = -math.inf
        self._told_at = -math.inf
        self.expected_at = -math.inf
        """When Redis expects room for what is needed."""

    def slot(self, now: float) -> int:
        """The slot of this moment."""
        return int((now + self._ahead_s) // self.slot_s)

    def balance(self, resource: str) -> float:
        """The amount that is leased and not used."""
        return self._balance[resource]

    def covers(self, amounts: Amounts) -> bool:
        """Whether a call of these amounts may be made from what is held."""
        return all(self._balance[name] >= amount - _DUST for name, amount in amounts.items())

    def ask(self, amounts: Amounts, now: float) -> None:
        """A call of these amounts waits."""
        self._need = amounts
        self._need_until = max(now, self.expected_at) + _NEED_S

    def use(self, amounts: Amounts, now: float) -> int:
        """A call is made, from what is held where that covers it. Returns the slot to `settle` it in."""
        slot = self.slot(now)
        if slot not in self._used:
            self._forget_old(now)
        self._need = {}
        self._decay(now)
        for name, amount in amounts.items():
            self._count(slot, name, amount)
            self._draw(name, amount)
            self._low = self._low or self._balance[name] < self._demand[name]
            self._demand[name] += amount
        return slot

    def settle(self, slot: int, differences: Amounts) -> None:
        """What was used in this slot is more (or less) by so much."""
        for name, difference in differences.items():
            self._count(slot, name, difference)

    def due_at(self, now: float) -> float:
        """When to contact Redis next; infinity when there is no reason to."""
        if self._need and now <= self._need_until and not self.covers(self._need):
            return self._ask_at
        if self._low:
            return self._ask_at
        return self._told_at + BEAT_S if self._moves or self._used or any(self._balance.values()) else math.inf

    def request(self, now: float) -> LeaseRequest:
        """The next request to Redis: usage to report and quota to ask for."""
        self._decay(now)
        self._forget_old(now)
        hungry = bool(self._need) and now <= self._need_until and not self.covers(self._need)
        need = self._need if hungry else {}
        wish = {name: 2 * demand + need.get(name, 0.0) for name, demand in self._demand.items() if demand >= 1e-3}
        wish = {**need, **wish}
        for name, balance in self._balance.items():
            # A part of a need would only lie here while another worker holds the other part.
            self._draw(name, balance if hungry else balance - wish.get(name, 0.0))
        missing = {name: wished - self._balance[name] for name, wished in wish.items() if hungry or self._low}
        want = {name: amount for name, amount in missing.items() if amount > _DUST}
        moves, self._moves = self._moves, {}
        self._low = False
        self._told_at = now
        return LeaseRequest(moves, need, want)

    def granted(self, request: LeaseRequest, reply: Mapping[str, Any], sent_at: float, now: float) -> None:
        """Takes the reply to a request: what is leased, or when there may be room."""
        # As if the reply had been written when the request left: a slot may be counted too late, never too early.
        self._ahead_s = reply["now"] - sent_at
        self._horizon_s = min(max(HORIZON_S, 4 * (now - sent_at)), _LONGEST_HORIZON_S)
        granted: Mapping[str, float] = reply["granted"]
        for name, amount in granted.items():
            if amount > _DUST:
                self._held[name].append([reply["slot"], amount])
                self._balance[name] += amount
        wait_s: float = reply["wait"]
        if request.need and wait_s > 0:
            self.expected_at = now + wait_s
            self._ask_at = now + min(max(wait_s, _SOONEST_S), _LATEST_S)
        else:
            full = all(granted.get(name, math.inf) >= wanted for name, wanted in request.want.items())
            self.expected_at = -math.inf
            self._ask_at = now + (_SOONEST_S if full or request.need else _SHORT_S)
        if request.need == self._need and wait_s == 0:
            self._need = {}

    def unsure(self, request: LeaseRequest) -> None:
        """No reply came, so Redis may have counted it or not: usage is reported again, rather twice than never."""
        for slot, amounts in request.moves.items():
            moves = self._moves.setdefault(slot, {})
            for name, amount in amounts.items():
                moves[name] = moves.get(name, 0.0) + max(0.0, amount)

    def let_go(self) -> None:
        """Gives back everything that is held, with the next request."""
        for name, balance in self._balance.items():
            self._draw(name, balance)
        self._need = {}
        self._low = False

    def start_over(self, now: float) -> bool:
        """The count was lost: nothing is held, and all that was used is to be told again. Returns whether that is any."""
        self._forget_old(now)
        self._held.clear()
        self._balance.clear()
        self._moves = {slot: dict(amounts) for slot, amounts in self._used.items()}
        return bool(self._moves)

    def _count(self, slot: int, resource: str, amount: float) -> None:
        for counted in (self._used, self._moves):
            amounts = counted.setdefault(slot, {})
            amounts[resource] = amounts.get(resource, 0.0) + amount

    def _draw(self, resource: str, amount: float) -> None:
        """Takes so much from what is held, oldest first, or what there is."""
        held = self._held[resource]
        while held and amount > _DUST:
            slot, there = held[0]
            part = there if there - amount < _DUST else amount
            amounts = self._moves.setdefault(int(slot), {})
            amounts[resource] = amounts.get(resource, 0.0) - part
            amount -= part
            if part == there:
                held.popleft()
            else:
                held[0][1] -= part
        self._balance[resource] = sum(there for _, there in held)

    def _decay(self, now: float) -> None:
        if now > self._demand_at:
            left = math.exp((self._demand_at - now) / self._horizon_s)
            for name in self._demand:
                self._demand[name] *= left
            self._demand_at = now

    def _forget_old(self, now: float) -> None:
        oldest = self.slot(now) - SLOTS - 1
        for counted in (self._used, self._moves):
            for slot in [slot for slot in counted if slot < oldest]:
                del counted[slot]
