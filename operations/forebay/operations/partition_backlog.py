"""Backlog of one partition of the requests: which of its turns are not done, by the commit of the workers' group. Pure."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from forebay.schemas import completion


class PartitionBacklog(NamedTuple):
    """One partition of the requests: what is done and what is not."""

    undone: tuple[int, ...]
    """Offsets below `end` that are not done, ascending."""
    end: int
    """Nothing from here on is done, as far as is known."""
    log_end: int
    """The next offset that will be written."""

    @property
    def waiting(self) -> int:
        """Turns that are not done."""
        return len(self.undone) + max(0, self.log_end - self.end)

    @property
    def done(self) -> int:
        """Grows by one with each turn that is done."""
        return self.end - len(self.undone)

    @classmethod
    def of_commit(cls, committed: int, metadata: str, log_end: int) -> PartitionBacklog:
        """From a consumer group's commit; a completion map that is foreign or damaged says nothing."""
        try:
            undone, end = completion.decode(committed, metadata)
        except completion.CompletionMapError:
            undone, end = (), committed
        return cls(undone, end, max(end, log_end))

    def first_from(self, offset: int) -> int:
        """The first turn from here on that is not done; it may not be written yet."""
        at = bisect_left(self.undone, offset)
        return self.undone[at] if at < len(self.undone) else max(self.end, offset)

    def undone_before(self, offset: int) -> int:
        """Turns that are not done and came before this one."""
        return bisect_left(self.undone, offset) + max(0, offset - self.end)

    def is_done(self, offset: int) -> bool:
        """Whether the turn at this offset has its reply or its dead letter."""
        if offset >= self.end:
            return False
        at = bisect_left(self.undone, offset)
        return at == len(self.undone) or self.undone[at] != offset
