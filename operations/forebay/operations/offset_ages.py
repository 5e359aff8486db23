"""Ages of turns by their offsets, from a note of offset and time every few seconds. Pure: times are arguments.

Reading the records themselves from Kafka would cost a read for each partition every second, and the oldest ones are no
longer in its cache.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import NamedTuple

STEP_MS = 2_000
"""Milliseconds between two notes of one partition: an age is too high by so much at most."""
KEPT = 2_000
"""Notes kept of one partition: more than an hour at full traffic."""


class Age(NamedTuple):
    """Age of a turn."""

    seconds: float
    at_least: bool = False
    """Whether it is older than all notes, so that its age may be higher."""


class _Notes:
    __slots__ = ("offsets", "times")

    def __init__(self) -> None:
        self.offsets, self.times = array("q"), array("q")


class Ages:
    """Keeps the notes of all partitions."""

    def __init__(self) -> None:
        self._notes: dict[int, _Notes] = {}

    def heard(self, partition: int, offset: int, timestamp: int) -> None:
        """Notes a turn; ``timestamp`` in milliseconds since the epoch."""
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
        """Age of the turn at this offset; None while nothing is known of its partition."""
        notes = self._notes.get(partition)
        if notes is None or not notes.times:
            return None
        at = bisect_right(notes.offsets, offset) - 1
        return Age(max(0.0, now - notes.times[max(at, 0)] / 1000), at_least=at < 0)
