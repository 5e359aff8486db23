"""The progress of one partition: what was polled, what is done, and what may be committed. Pure: no clock, no I/O.

At-least-once rests on one rule: the committed offset is the lowest one polled whose turn is not done. Offsets that were
never polled because Kafka has nothing there (compaction, transaction markers) count as done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from forebay.schemas import completion


class CommitPoint(NamedTuple):
    """What to commit for a partition, both halves taken from the same instant."""

    offset: int
    metadata: str


class Ledger:
    """Progress of one partition. Memory grows with the offsets not done, never with the span they lie in."""

    __slots__ = ("_awaited", "_end", "_pending", "damaged", "position")

    def __init__(self, offset: int, metadata: str = "", log_end: int | None = None) -> None:
        """Continues from a commit: ``offset`` and the completion map beside it.

        ``log_end`` is the partition's next offset, where it is known: a map that reaches beyond it is of another log.
        Metadata that is foreign or damaged is ignored, and `damaged` says so: turns above the offset are then answered
        again, or found answered in the store.
        """
        self.damaged: str | None = None
        """Why the metadata was ignored."""
        try:
            undone, end = completion.decode(offset, metadata, log_end)
        except completion.CompletionMapError as error:
            self.damaged = str(error)
            undone, end = (), offset
        self.position = offset
        """The next offset to poll."""
        self._end = end
        self._pending = set(undone)
        self._awaited = deque(undone)

    @property
    def pending(self) -> int:
        """Offsets that are not done, polled or known from the completion map."""
        return len(self._pending)

    @property
    def held(self) -> int:
        """Offsets that were polled and are not done."""
        return len(self._pending) - len(self._awaited)

    def polled(self, offset: int) -> bool:
        """Takes note of a record; False when it needs no work: it was polled before, or done before a restart."""
        if offset < self.position:
            return False
        self.position = offset + 1
        while self._awaited and self._awaited[0] < offset:
            # Kafka no longer has this record: nobody will ever finish it.
            self._pending.discard(self._awaited.popleft())
        if offset >= self._end:
            self._end = offset + 1
            self._pending.add(offset)
            return True
        if self._awaited and self._awaited[0] == offset:
            self._awaited.popleft()
            return True
        return False

    def done(self, offset: int) -> None:
        """The turn at this offset has its durable reply or dead letter. Calling it twice is harmless."""
        self._pending.discard(offset)

    def put_back(self, offsets: Iterable[int]) -> None:
        """Takes back offsets that were polled and are not worked on any more. A poll from `position` then returns each of
        them once more, and nothing that is done or in flight.
        """
        self._awaited = deque(sorted({*self._awaited, *offsets}))
        if self._awaited:
            self.position = min(self.position, self._awaited[0])

    def commit_point(self, limit: int = completion.MAX_METADATA) -> CommitPoint:
        """Offset and completion map to commit now."""
        if not self._pending:
            return CommitPoint(self._end, "")
        undone = sorted(self._pending)
        return CommitPoint(undone[0], completion.encode(undone, self._end, limit))
