"""How old a turn is, by its offset: now and then an offset is noted with its time. Pure: times are arguments.

Kafka could be asked for the record itself; that would be a read for each partition and second, and the turns that are
oldest lie where nothing is cached any more.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import NamedTuple

STEP_MS = 2_000
"""Between two notes of one partition: an age is too high by so much at most."""
KEPT = 2_000
"""Of one partition: an hour and more at full traffic."""


class Age(NamedTuple):
    """Of a turn."""

    seconds: float
    at_least: bool = False
    """Whether it is older than everything that was noted."""


class _Notes:
    __slots__ = ("offsets", "times")

    def __init__(self) -> None:
        self.offsets, self.times = array("q"), array("q")


class Ages:
    """The notes of all partitions."""

    def __init__(self) -> None:
        self._notes: dict[int, _Notes] = {}

    def heard(self, partition: int, offset: int, timestamp: int) -> None:
        """A turn was written; ``timestamp`` in milliseconds since the epoch."""
        notes = self._notes.get(partition)
        if notes is None:
            notes = self._notes[partition] = _Notes()
        if notes.times and timestamp < notes.times[-1] + STEP_MS:
            return
        notes.offsets.append(offset)
        notes.times.append(timestamp)
        if len(notes.times) > 2 * KEPT:
            del notes.offsets[:KEPT], notes.times[:KEPT]

    def of(self, partition: int, offset: int, now: float) -> Age | None:
        """How long the turn at this offset has been there; None while nothing is known of its partition."""
        notes = self._notes.get(partition)
        if notes is None or not notes.times:
            return None
        at = bisect_right(notes.offsets, offset) - 1
        return Age(max(0.0, now - notes.times[max(at, 0)] / 1000), at_least=at < 0)
