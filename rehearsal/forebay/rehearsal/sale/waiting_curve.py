"""The queue of a sale, from its moments: how it rose and fell, and how fast it could have been drained at best. Pure.

All times are in seconds on one clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple

_DRAINED_SHARE = 0.02
"""Of its peak: a queue of hundreds that is down to a few is drained. Turns behind one of their own conversation remain."""


class Capacity(NamedTuple):
    """From a moment on, so many turns can be in the models at once."""

    at: float
    servers: int


@dataclass(frozen=True, slots=True)
class WaitingCurve:
    """How many turns had been sent and not begun, after each moment at which that changed."""

    times: tuple[float, ...]
    waiting: tuple[int, ...]

    @classmethod
    def of(cls, sent_at: Iterable[float], began_at: Iterable[float]) -> WaitingCurve:
        """From every turn's two moments; turns that never began count as waiting to the end."""
        changes = sorted([(at, 1) for at in sent_at] + [(at, -1) for at in began_at])
        waiting, counts = 0, []
        for _, change in changes:
            counts.append(waiting := waiting + change)
        return cls(tuple(at for at, _ in changes), tuple(counts))

    @property
    def peak(self) -> int:
        """Most turns that waited at once."""
        return max(self.waiting, default=0)

    def at(self, moment: float) -> int:
        """Turns that waited then."""
        place = bisect_right(self.times, moment)
        return self.waiting[place - 1] if place else 0

    @property
    def rose_at(self) -> float | None:
        """When the queue that became the longest began to form; None for no queue."""
        if not self.peak:
            return None
        highest = self.waiting.index(self.peak)
        small = self._small
        place = next((place for place in range(highest, -1, -1) if self.waiting[place] <= small), 0)
        return self.times[place]

    @property
    def drained_at(self) -> float | None:
        """When it was gone after its peak; None for no queue, or one that never went."""
        if not self.peak:
            return None
        highest = self.waiting.index(self.peak)
        small = self._small
        return next((self.times[n] for n in range(highest, len(self.times)) if self.waiting[n] <= small), None)

    @property
    def _small(self) -> float:
        return max(1.0, self.peak * _DRAINED_SHARE)


def ideal(sent_at: Sequence[float], service_s: Sequence[float], capacity: Sequence[Capacity]) -> WaitingCurve:
    """The same turns with the same times in the models, had each begun the very moment a server was free.

    First come, first served; nothing is lost to Kafka, the workers, rebalances or the order within conversations.
    ``sent_at`` ascends; ``capacity`` does too. A server that is taken away finishes its turn.
    """
    began: list[float] = []
    free: list[float] = []  # when each server is free, a heap
    gone, step = 0, 0
    for at, service in zip(sent_at, service_s, strict=True):
        while True:
            # The fleet changes up to the moment at which this turn would begin.
            begins = max(at, free[0]) if free else float("inf")
            if step < len(capacity) and capacity[step].at <= begins:
                more = capacity[step].servers - (len(free) - gone)
                for _ in range(max(0, more)):
                    if gone:
                        gone -= 1
                    else:
                        heappush(free, capacity[step].at)
                gone += max(0, -more)
                step += 1
            elif gone and free:
                heappop(free)
                gone -= 1
            else:
                break
        if not free:
            break
        began.append(begins)
        heapreplace(free, begins + service)
    return WaitingCurve.of(sent_at, began)


def drain_ratio(real: WaitingCurve, best: WaitingCurve, servers: int) -> float | None:
    """How much longer the queue took, from its rise until it was gone, than it had to: 1 is ideal.

    None without a queue that is one at best too: half as many turns as there are ``servers`` are gone in no time.
    """
    if best.peak < servers / 2 or best.rose_at is None or best.drained_at is None or real.drained_at is None:
        return None
    least = best.drained_at - best.rose_at
    return (real.drained_at - best.rose_at) / least if least > 0 else None


def lost_throughput_s(replied_at: Sequence[float], change: float, *, before_s: float, after_s: float) -> float:
    """Seconds of throughput that were lost after a change of the fleet, against the rate just before it.

    The largest shortfall, over every moment of the ``after_s`` that follow, of the replies that came since the change
    against those that the old rate would have brought, in seconds of that rate. ``replied_at`` ascends.
    """
    first, at = bisect_right(replied_at, change - before_s), bisect_right(replied_at, change)
    rate = (at - first) / before_s
    if rate <= 0:
        return 0.0
    last = bisect_right(replied_at, change + after_s)
    worst = max(0.0, after_s - (last - at) / rate)
    for count, moment in enumerate(replied_at[at:last]):  # just before each reply the shortfall is at its largest
        worst = max(worst, moment - change - count / rate)
    return worst
