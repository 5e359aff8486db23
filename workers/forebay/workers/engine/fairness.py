"""Fairness: whose turn is next. Pure: times are arguments.

Start-time fair queueing (Goyal, Vin, Cheng, 1996) between tenants, and between the users of a tenant. Everyone who waits
has a place in virtual time. Each turn that is served moves its tenant and its user back, by one over the weight; a newcomer
begins at the place that is being served. So a flood of turns of one of them waits behind its own turns, not in front of the
others'.

Virtual time goes on with every turn, by one over the number that wait (as in weighted fair queueing): otherwise a stream of
newcomers would starve those who wait for their second turn.

Within that, age decides. A priority is a head start in age, so nothing starves.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from forebay.schemas import Priority

HEAD_START_S: dict[Priority, float] = {"high": 0.0, "normal": 5.0, "low": 20.0}
"""How much younger a turn of higher priority may be and still go first, in seconds.

Age plus a constant instead of strict classes: a low turn is overtaken for 20 s at most, so nothing starves.
"""
_KEEP = 1024


class Origin(NamedTuple):
    """Whose turn it is, and how urgent."""

    tenant: str | None = None
    user: str | None = None
    """None where the user is not known: each such turn counts as one of a new user."""
    priority: Priority = "normal"


_Entry = tuple[float, float, int, Hashable]  # place in virtual time, age (seconds of a clock), ticket, what waits


class _Line:
    """The waiting turns of one tenant and one priority, ordered by their users' places."""

    __slots__ = ("entries", "now", "places")

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.now = 0.0
        self.places: dict[str, float] = {}  # of users who have turns waiting: where their next one goes

    def push(self, user: str | None, at: float, ticket: int, what: Hashable) -> None:
        place = self.now
        if user is not None:
            place = max(place, self.places.get(user, 0.0))
            self.places[user] = place + 1.0
            if len(self.places) > 2 * len(self.entries) + _KEEP:
                self.places = {name: next_place for name, next_place in self.places.items() if next_place > self.now}
        heapq.heappush(self.entries, (place, at, ticket, what))


class _Tenant:
    __slots__ = ("lines", "place", "waiting", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.place = 0.0
        self.waiting = 0
        self.lines: dict[Priority, _Line] = {}


class FairQueue:
    """What waits, each with a ticket; `pop` gives the next, `discard` takes one out."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        """``weights`` of tenants; one that is not named weighs 1."""
        self._weights = weights or {}
        self._tenants: dict[str | None, _Tenant] = {}
        self._order: list[tuple[float, int, str | None]] = []  # the tenants that have turns waiting
        self._now = 0.0
        self._discarded: set[int] = set()

    def push(self, what: Hashable, ticket: int, at: float, origin: Origin) -> None:
        """Adds one; ``at`` is when it began to wait, ``ticket`` a number of its own, greater than those before."""
        tenant = self._tenants.get(origin.tenant)
        if tenant is None:
            tenant = self._tenants[origin.tenant] = _Tenant(self._weights.get(origin.tenant or "", 1.0))
        if not tenant.waiting:
            tenant.place = max(tenant.place, self._now)
            heapq.heappush(self._order, (tenant.place, ticket, origin.tenant))
        tenant.waiting += 1
        line = tenant.lines.get(origin.priority)
        if line is None:
            line = tenant.lines[origin.priority] = _Line()
        line.push(origin.user, at, ticket, what)

    def discard(self, ticket: int) -> None:
        """Takes out the one with this ticket."""
        self._discarded.add(ticket)

    def pop(self) -> Hashable | None:
        """The next one, or None."""
        while self._order:
            place, _, name = heapq.heappop(self._order)
            tenant = self._tenants[name]
            found = self._next(tenant)
            if found is None:
                self._forget(name, tenant)
                continue
            self._now = max(self._now, place) + 1.0 / (len(self._order) + 1)
            tenant.place = place + 1.0 / tenant.weight
            if tenant.waiting:
                heapq.heappush(self._order, (tenant.place, found[2], name))
            else:
                self._forget(name, tenant)
            return found[3]
        return None

    def _next(self, tenant: _Tenant) -> _Entry | None:
        """Takes the next one of a tenant: of each priority the first, and of these the one whose age counts most."""
        best: _Line | None = None
        due = 0.0
        for priority, line in tenant.lines.items():
            while self._discarded and line.entries and line.entries[0][2] in self._discarded:
                self._discarded.remove(heapq.heappop(line.entries)[2])
                tenant.waiting -= 1
            if line.entries:
                line_due = line.entries[0][1] + HEAD_START_S[priority]
                if best is None or line_due < due:
                    best, due = line, line_due
        if best is None:
            return None
        entry = heapq.heappop(best.entries)
        best.now = max(best.now, entry[0]) + 1.0 / (len(best.entries) + 1)
        tenant.waiting -= 1
        if not best.entries:
            best.places.clear()
        return entry

    def _forget(self, name: str | None, tenant: _Tenant) -> None:
        """A tenant without turns is remembered only while others wait and its place lies behind theirs."""
        if not self._order:
            self._tenants.clear()  # nobody waits: all begin anew
            self._now = 0.0
        elif tenant.place <= self._now:
            del self._tenants[name]
        elif len(self._tenants) > 2 * len(self._order) + _KEEP:
            self._tenants = {
                other: state for other, state in self._tenants.items() if state.waiting or state.place > self._now
            }
