"""Fairness: whose turn is next. Pure: times are arguments.

Start-time fair queueing (Goyal, Vin, Cheng, 1996) between tenants, and between the users of a tenant. Everyone who waits
has a place in virtual time. Each turn that is served moves its tenant and its user back, by one over the weight; a newcomer
begins at the place that is being served. So a flood of turns of one of them waits behind its own turns, not in front of the
others'.

Virtual time goes on with every turn, by one over the number that wait (as in weighted fair queueing): otherwise a stream of
newcomers would starve those who wait for their second turn.

Within that, age decides. A priority is a head start in age, so nothing starves.

Except that whoever has waited beyond the patience of customers has likely left, so those who have not go first, and then
the freshest of the others: the last hope of who waits longest is that the crowd ends before their deadline.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from forebay.schemas import Priority

HEAD_START_S: dict[Priority, float] = {"high": 0.0, "normal": 5.0, "low": 20.0}
"""How much younger a turn of higher priority may be and still go first, in seconds.

Age plus a constant instead of strict classes: a low turn is overtaken for 20 s at most, so nothing starves.
"""
PATIENCE_SHARE = 0.125
"""Of a turn's time to live, how long customers are taken to wait where nobody says: 15 of 120 s."""
_KEEP = 1024


def patience_of(priority: Priority, patience_s: float) -> float:
    """After how long a turn is late, where a normal one is after ``patience_s``: head starts hold for it too."""
    later_s = HEAD_START_S[priority] - HEAD_START_S["normal"]
    return patience_s + max(-patience_s, min(later_s, patience_s))


class Origin(NamedTuple):
    """Whose turn it is, and how urgent."""

    tenant: str | None = None
    user: str | None = None
    """None where the user is not known: each such turn counts as one of a new user."""
    priority: Priority = "normal"


class _Entry(NamedTuple):
    """What waits in time: by its user's place, then by age."""

    place: float
    """In virtual time."""
    at: float
    """When it began to wait, in seconds of a clock."""
    ticket: int
    what: Hashable
    lead: float
    """How far behind the place that was served it began: about the number of turns of its user before it."""


class _LateEntry(NamedTuple):
    """What has waited beyond patience: the first turn of each user before all second ones, the freshest first."""

    lead: float
    since: float
    """When it began to wait, negative: the freshest is the least."""
    ticket: int
    what: Hashable
    place: float


class _Line:
    """The waiting turns of one tenant and one priority."""

    __slots__ = ("entries", "late", "now", "places")

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.late: list[_LateEntry] = []
        self.now = 0.0
        self.places: dict[str, float] = {}  # of users who have turns waiting: where their next one goes

    @property
    def waiting(self) -> int:
        return len(self.entries) + len(self.late)

    def push(self, user: str | None, at: float, ticket: int, what: Hashable) -> None:
        place = self.now
        if user is not None:
            place = max(place, self.places.get(user, 0.0))
            self.places[user] = place + 1.0
            if len(self.places) > 2 * self.waiting + _KEEP:
                self.places = {name: next_place for name, next_place in self.places.items() if next_place > self.now}
        heapq.heappush(self.entries, _Entry(place, at, ticket, what, place - self.now))

    def look(self, in_time_since: float, discarded: set[int]) -> int:
        """Puts aside what is late, and drops what was discarded, as far as it would be next; returns how many it dropped."""
        entries, late, dropped = self.entries, self.late, 0
        while entries:
            first = entries[0]
            if discarded and first.ticket in discarded:
                discarded.remove(first.ticket)
                dropped += 1
            elif first.at < in_time_since:
                heapq.heappush(late, _LateEntry(first.lead, -first.at, first.ticket, first.what, first.place))
            else:
                break
            heapq.heappop(entries)
        while discarded and late and late[0].ticket in discarded:
            discarded.remove(heapq.heappop(late).ticket)
            dropped += 1
        return dropped

    def take(self) -> _Entry | _LateEntry:
        """The next one of those in time, or else of the others."""
        entry = heapq.heappop(self.entries) if self.entries else heapq.heappop(self.late)
        self.now = max(self.now, entry.place) + 1.0 / (self.waiting + 1)
        if not self.waiting:
            self.places.clear()
        return entry


class _Tenant:
    __slots__ = ("lines", "place", "waiting", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.place = 0.0
        self.waiting = 0
        self.lines: dict[Priority, _Line] = {}


class FairQueue:
    """What waits, each with a ticket; `pop` gives the next, `discard` takes one out."""

    def __init__(self, weights: Mapping[str, float] | None = None, patience_s: float = math.inf) -> None:
        """``weights`` of tenants; one that is not named weighs 1. Who has waited longer than ``patience_s`` goes later."""
        self._weights = weights or {}
        self._patience_s = {priority: patience_of(priority, patience_s) for priority in HEAD_START_S}
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

    def pop(self, now: float = -math.inf) -> Hashable | None:
        """The next one, or None. ``now`` on the clock of `push`: before all of them nobody is late."""
        while self._order:
            place, _, name = heapq.heappop(self._order)
            tenant = self._tenants[name]
            found = self._next(tenant, now)
            if found is None:
                self._forget(name, tenant)
                continue
            self._now = max(self._now, place) + 1.0 / (len(self._order) + 1)
            tenant.place = place + 1.0 / tenant.weight
            if tenant.waiting:
                heapq.heappush(self._order, (tenant.place, found.ticket, name))
            else:
                self._forget(name, tenant)
            return found.what
        return None

    def _next(self, tenant: _Tenant, now: float) -> _Entry | _LateEntry | None:
        """Takes the next one of a tenant: of each priority the first, and of these the one whose age counts most.

        Where all are late, the one whose age counts least, among the first turns of their users.
        """
        best: _Line | None = None
        rank = (True, 0.0, 0.0)
        for priority, line in tenant.lines.items():
            head_start = HEAD_START_S[priority]
            tenant.waiting -= line.look(now - self._patience_s[priority], self._discarded)
            if line.entries:
                of_line = (False, 0.0, line.entries[0].at + head_start)
            elif line.late:
                of_line = (True, line.late[0].lead, line.late[0].since + head_start)
            else:
                continue
            if best is None or of_line < rank:
                best, rank = line, of_line
        if best is None:
            return None
        tenant.waiting -= 1
        return best.take()

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
