"""Lanes: one FIFO for each conversation, a ready queue of the conversations that may go on, and the permits.

Pure: the time is an argument and nothing here waits. The promises it keeps, property-tested:

- turns of one lane are taken in the order they were offered, one at a time;
- never more turns hold a permit than there are permits, and each permit comes back exactly once;
- a lane that waits is taken after a bounded number of others (`fairness` decides which one is next), unless it has waited
  beyond patience: then whenever no other waits that has not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from .fairness import FairQueue, Origin

Item = TypeVar("Item")

_NOBODY = Origin()


class _Lane(Generic[Item]):
    __slots__ = ("current", "held", "origin", "ticket", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[float, Item, Origin]] = deque()
        self.current: Item | None = None
        self.origin = _NOBODY  # of the current turn
        self.held = False  # whether the current turn holds a permit
        self.ticket = 0  # number of its entry in the ready queue; 0 when it has none


class Lanes(Generic[Item]):
    """The waiting turns of a worker and the permits for those that run."""

    def __init__(self, permits: int, weights: Mapping[str, float] | None = None, patience_s: float = math.inf) -> None:
        """``weights`` of tenants; one that is not named weighs 1. ``patience_s`` as of `FairQueue`."""
        self.permits = permits
        """Turns that may run at once. May be changed at any time; a lower number takes effect as permits come back."""
        self.waiting = 0
        """Turns offered and not yet taken."""
        self.in_flight = 0
        """Permits held."""
        self.ready = 0
        """Conversations that could go on if there were a permit."""
        self._lanes: dict[Hashable, _Lane[Item]] = {}
        self._queue = FairQueue(weights, patience_s)
        self._tickets = 0

    def __len__(self) -> int:
        """Conversations with a turn that waits or runs."""
        return len(self._lanes)

    def offer(self, lane_id: Hashable, item: Item, now: float, origin: Origin = _NOBODY) -> bool:
        """Adds a turn at the end of its lane; ``now`` in seconds of any steady clock. Returns whether it found another there,
        waiting or running.
        """
        lane = self._lanes.get(lane_id)
        busy = lane is not None
        if lane is None:
            lane = self._lanes[lane_id] = _Lane()
        lane.waiting.append((now, item, origin))
        self.waiting += 1
        if lane.current is None and not lane.ticket:
            self._enqueue(lane_id, lane, now, origin)
        return busy

    def take(self, now: float = -math.inf) -> Item | None:
        """The next turn with its permit, or None when no conversation is ready or no permit is free.

        ``now`` on the clock of `offer`, by which a turn is late; without it none is.

        A turn that asked for its permit again (`reclaim`) is returned a second time.
        """
        if self.in_flight >= self.permits:
            return None
        lane_id = self._queue.pop(now)
        if lane_id is None:
            return None
        lane = self._lanes[lane_id]
        lane.ticket = 0
        self.ready -= 1
        if lane.current is None:
            _, lane.current, lane.origin = lane.waiting.popleft()
            self.waiting -= 1
        lane.held = True
        self.in_flight += 1
        return lane.current

    def take_unpermitted(self, lane_id: Hashable) -> Item | None:
        """The next turn of this lane, without a permit, for what calls no model; None while the lane is busy or empty."""
        lane = self._lanes.get(lane_id)
        if lane is None or lane.current is not None:
            return None
        self._dequeue(lane)
        _, lane.current, lane.origin = lane.waiting.popleft()
        self.waiting -= 1
        return lane.current

    def current(self, lane_id: Hashable) -> Item | None:
        """The turn of this lane that runs."""
        lane = self._lanes.get(lane_id)
        return None if lane is None else lane.current

    def first_waiting(self, lane_id: Hashable) -> Item | None:
        """The turn of this lane that is next."""
        lane = self._lanes.get(lane_id)
        return lane.waiting[0][1] if lane is not None and lane.waiting else None

    def idle_since(self, before: float) -> Iterator[tuple[Hashable, Item]]:
        """Lanes in which nothing runs and the next turn was offered before then, each with that turn."""
        for lane_id, lane in self._lanes.items():
            if lane.current is None and lane.waiting and lane.waiting[0][0] < before:
                yield lane_id, lane.waiting[0][1]

    def waiting_in(self, lane_id: Hashable) -> Iterator[Item]:
        """The turns of this lane that wait, the next one first."""
        lane = self._lanes.get(lane_id)
        return iter(()) if lane is None else (item for _, item, _ in lane.waiting)

    def join(self, lane_id: Hashable) -> Item:
        """Takes the lane's next turn for the one that runs: they are one from now on."""
        self.waiting -= 1
        return self._lanes[lane_id].waiting.popleft()[1]

    def give_back(self, lane_id: Hashable) -> None:
        """The lane's turn no longer calls a model: its permit is free, its lane stays busy. Harmless when it has none."""
        lane = self._lanes.get(lane_id)
        if lane is None:
            return
        if lane.held:
            lane.held = False
            self.in_flight -= 1
        elif lane.ticket and lane.current is not None:
            self._dequeue(lane)

    def holds(self, lane_id: Hashable) -> bool:
        """Whether the lane's turn has its permit."""
        return lane_id in self._lanes and self._lanes[lane_id].held

    def reclaim(self, lane_id: Hashable, now: float) -> None:
        """The lane's turn wants a permit again; `take` will return it once more."""
        lane = self._lanes[lane_id]
        if not lane.held and not lane.ticket:
            # It was counted when it began: the turns of its user that came later do not go first.
            self._enqueue(lane_id, lane, now, lane.origin._replace(user=None))

    def finish(self, lane_id: Hashable) -> None:
        """The lane's turn is over, however it ended: its permit is free and the next turn of its lane may go."""
        self.give_back(lane_id)
        lane = self._lanes[lane_id]
        lane.current = None
        if lane.waiting:
            at, _, origin = lane.waiting[0]
            self._enqueue(lane_id, lane, at, origin)
        else:
            del self._lanes[lane_id]

    def untaken(self) -> Iterator[Item]:
        """The turns offered and not yet taken."""
        for lane in self._lanes.values():
            for _, item, _ in lane.waiting:
                yield item

    def forget(self, unwanted: Callable[[Item], bool]) -> list[Item]:
        """Drops the waiting turns that are unwanted, such as those of a partition that went; returns them."""
        dropped: list[Item] = []
        for lane_id, lane in list(self._lanes.items()):
            before = len(dropped)
            dropped += (item for _, item, _ in lane.waiting if unwanted(item))
            if len(dropped) > before:
                lane.waiting = deque(entry for entry in lane.waiting if not unwanted(entry[1]))
            if lane.current is None and not lane.waiting:
                self._dequeue(lane)
                del self._lanes[lane_id]
        self.waiting -= len(dropped)
        return dropped

    def _enqueue(self, lane_id: Hashable, lane: _Lane[Item], at: float, origin: Origin) -> None:
        self._tickets += 1
        lane.ticket = self._tickets
        self.ready += 1
        self._queue.push(lane_id, lane.ticket, at, origin)

    def _dequeue(self, lane: _Lane[Item]) -> None:
        if lane.ticket:
            self._queue.discard(lane.ticket)
            lane.ticket = 0
            self.ready -= 1
