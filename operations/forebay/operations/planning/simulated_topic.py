"""A simulated topic: its turns, the order of each conversation, and the lag that an autoscaler reads. Pure."""

from __future__ import annotations

import random
from array import array
from bisect import bisect
from collections import deque
from itertools import accumulate


class _Partition:
    __slots__ = ("committed", "done")

    def __init__(self) -> None:
        self.done = bytearray()  # one byte for each offset
        self.committed = 0


class SimulatedTopic:
    """Turns are numbered as they are sent. One of each conversation is out at a time; the others wait behind it."""

    def __init__(self, partitions: int, conversations: int | None, skew: float, rng: random.Random) -> None:
        """``skew`` is the exponent of a Zipf distribution; 0 draws conversations evenly, None gives each turn its own."""
        self.partitions = partitions
        self._partitions = [_Partition() for _ in range(partitions)]
        self._rng = rng
        self._weights: list[float] = []
        if skew and conversations:
            self._weights = list(accumulate((rank + 1) ** -skew for rank in range(conversations)))
        self._conversations = conversations
        self._places = [rng.randrange(partitions) for _ in range(conversations or 0)]
        self._behind: dict[int, deque[int]] = {}  # by conversation, where one of its turns is out
        self._conversation = array("l")
        self.partition = array("l")
        """Of each turn."""
        self._offset = array("l")
        self.undone = 0
        """Turns offered and not done."""

    def offer(self) -> tuple[int, bool]:
        """A turn is sent: its number, and whether it may begin."""
        turn = len(self.partition)
        conversation, partition = self._draw()
        log = self._partitions[partition].done
        self.partition.append(partition)
        self._offset.append(len(log))
        log.append(0)
        self.undone += 1
        if conversation is None:
            return turn, True
        self._conversation.append(conversation)
        if (behind := self._behind.get(conversation)) is not None:
            behind.append(turn)
            return turn, False
        self._behind[conversation] = deque()
        return turn, True

    def conversation(self, turn: int) -> str | None:
        """Whose turn it is; None where each is somebody else's."""
        return None if self._conversations is None else str(self._conversation[turn])

    def _draw(self) -> tuple[int | None, int]:
        share = self._rng.random()
        if self._conversations is None:
            return None, int(share * len(self._partitions))
        if self._weights:
            conversation = min(bisect(self._weights, share * self._weights[-1]), self._conversations - 1)
        else:
            conversation = int(share * self._conversations)
        return conversation, self._places[conversation]

    def done(self, turn: int) -> int | None:
        """A turn is done; the next of its conversation, if there is one, may begin."""
        self._partitions[self.partition[turn]].done[self._offset[turn]] = 1
        self.undone -= 1
        if self._conversations is None:
            return None
        behind = self._behind[self._conversation[turn]]
        if behind:
            return behind.popleft()
        del self._behind[self._conversation[turn]]
        return None

    def lag(self) -> int:
        """End offset less committed offset, of all partitions: all behind the oldest turn that is not done counts."""
        lag = 0
        for partition in self._partitions:
            first = partition.done.find(0, partition.committed)
            partition.committed = first if first >= 0 else len(partition.done)
            lag += len(partition.done) - partition.committed
        return lag
