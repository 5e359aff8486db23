"""The queue: how many turns are before a turn, and how long it waits. Pure: times are arguments.

Kafka knows what is done (the group's committed offsets, and the completion maps beside them); the workers say how many
turns they answer at once. Until a worker has been busy for a while, its rate follows from Little's law: turns at once,
divided by the seconds of each. Once turns wait, its real rate is measured, which includes rate limits and outages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from forebay.operations.partition_backlog import PartitionBacklog

WINDOW_S = 15.0
"""Seconds over which the rate of a busy worker is measured."""
_YOUNG_S = 2.0
"""Seconds after which a sample says nothing about now: Kafka may be away, and the workers with it."""
_SURE_S = 3.0
"""Seconds of being busy after which the measured rate is used."""


class Place(NamedTuple):
    """Place in the queue of a turn that has not begun."""

    ahead: int
    """Turns that will begin before it."""
    estimated_wait_s: float | None
    """Seconds until it begins; None while that is not known."""


class WorkerShare(NamedTuple):
    """What one worker answers."""

    partitions: tuple[int, ...]
    permits: int
    """Turns it answers at once."""


@dataclass(slots=True)
class _Drain:
    """Measures how fast one worker answers."""

    done: int = 0
    busy: deque[tuple[float, int]] = field(default_factory=deque)
    """(time, done by then) while turns waited for a permit, without a break."""

    def note(self, now: float, done: int, *, waits: bool) -> None:
        self.done += done
        if not waits:
            self.busy.clear()
            return
        self.busy.append((now, self.done))
        while self.busy[0][0] < now - WINDOW_S:
            self.busy.popleft()

    def rate(self) -> float | None:
        """Turns a second; None before it was busy for long enough."""
        if not self.busy or (span := self.busy[-1][0] - self.busy[0][0]) < _SURE_S:
            return None
        return (self.busy[-1][1] - self.busy[0][1]) / span


class Queue:
    """The waiting turns of all partitions, and how fast the workers answer them."""

    def __init__(self) -> None:
        self.partitions: Mapping[int, PartitionBacklog] = {}
        self.service_s: float | None = None
        """Mean seconds that a turn takes its worker; None before the first reply."""
        self._owners: dict[int, str] = {}
        self._shares: Mapping[str, WorkerShare] = {}
        self._drains: dict[str, _Drain] = {}
        self._undone: dict[str, int] = {}
        self._sampled_at = 0.0

    @property
    def waiting(self) -> int:
        """Turns that are not done."""
        return sum(backlog.waiting for backlog in self.partitions.values())

    def sample(self, partitions: Mapping[int, PartitionBacklog], shares: Mapping[str, WorkerShare], now: float) -> None:
        """Takes the current backlogs and workers' shares (by worker id). Call it about once a second."""
        before, self.partitions, self._shares, self._sampled_at = self.partitions, partitions, shares, now
        self._owners = {partition: name for name, share in shares.items() for partition in share.partitions}
        self._drains = {name: self._drains.get(name, _Drain()) for name in shares}
        for name, share in shares.items():
            owned = [partition for partition in share.partitions if partition in partitions]
            self._undone[name] = sum(partitions[partition].waiting for partition in owned)
            done = sum(max(0, partitions[p].done - before[p].done) for p in owned if p in before)
            self._drains[name].note(now, done, waits=self._undone[name] > share.permits)

    def seen(self, service_s: float) -> None:
        """Notes how long a worker took for a turn that has its reply."""
        self.service_s = service_s if self.service_s is None else self.service_s + 0.02 * (service_s - self.service_s)

    def is_done(self, partition: int, offset: int) -> bool:
        """Whether that turn is known to be done."""
        backlog = self.partitions.get(partition)
        return backlog is not None and backlog.is_done(offset)

    def place(self, partition: int, offset: int, now: float) -> Place | None:
        """Place of the turn at this offset; None while no worker has ever committed in this partition."""
        backlog = self.partitions.get(partition)
        if backlog is None:
            return None
        before = backlog.undone_before(offset)
        name = self._owners.get(partition)
        if name is None:
            return Place(before, None)
        permits = self._shares[name].permits
        if not before:
            return Place(0, 0.0 if permits else None)
        rate = self._rate(name)
        # A worker takes the turns of all its partitions as they come: those of the others go before it in proportion.
        all_before = before * max(1.0, self._undone[name] / max(1, backlog.waiting))
        done_since = (rate or 0.0) * min(now - self._sampled_at, _YOUNG_S)
        ahead = max(0, round(all_before - done_since) - permits + (1 if permits else 0))
        return Place(ahead, (round(ahead / rate, 1) if rate else None) if ahead else 0.0)

    def next_wait_s(self, partition: int, now: float) -> float | None:
        """How long a turn sent to this partition now would wait, in seconds; None while that is not known."""
        backlog = self.partitions.get(partition)
        place = None if backlog is None else self.place(partition, max(backlog.log_end, backlog.end), now)
        return None if place is None else place.estimated_wait_s

    def longest_wait_s(self, now: float) -> float:
        """How long a new turn would wait at most, in seconds; unknown partitions count as empty."""
        return max((self.next_wait_s(partition, now) or 0.0 for partition in self.partitions), default=0.0)

    def _rate(self, name: str) -> float | None:
        measured = self._drains[name].rate()
        if measured is not None:
            return measured
        permits = self._shares[name].permits
        return permits / self.service_s if self.service_s and permits else None
