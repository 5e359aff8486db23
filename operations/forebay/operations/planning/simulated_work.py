"""Simulated work: turns on their way through the pods, from being sent to being answered, as workers handle them."""

from __future__ import annotations

import math
import random
from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from forebay.workers.engine.fairness import FairQueue, Origin

from .agenda import Agenda
from .service_time import ServiceTime
from .simulated_provider import SimulatedProvider
from .simulated_topic import SimulatedTopic


class SimulatedPod:
    """A worker with its permits, and what waits for them."""

    __slots__ = ("_queue", "_tickets", "concurrency", "free", "in_line", "leaving", "partitions", "ready")

    def __init__(self, concurrency: int, patience_s: float) -> None:
        self.concurrency = self.free = concurrency
        self.partitions: Sequence[int] = ()
        self.ready: dict[int, int] = {}
        """Turns that wait for a permit, each with its ticket."""
        self._queue, self._tickets = FairQueue(patience_s=patience_s), 0
        self.in_line = False
        """For the provider."""
        self.leaving = False

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return self.free == self.concurrency

    def push(self, turn: int, sent: float, origin: Origin) -> None:
        """A turn waits here from now on."""
        self._tickets += 1
        self.ready[turn] = self._tickets
        self._queue.push(turn, self._tickets, sent, origin)

    def pop(self, now: float) -> int:
        """The turn that a worker would begin next, by its own fairness."""
        turn = self._queue.pop(now)
        assert isinstance(turn, int)
        del self.ready[turn]
        return turn

    def give_up(self, turns: Iterable[int]) -> None:
        """These turns no longer wait here."""
        for turn in turns:
            self._queue.discard(self.ready.pop(turn))


class SimulatedWork:
    """The state of every turn; pods and time are changed from outside."""

    def __init__(
        self,
        agenda: Agenda,
        backlog: SimulatedTopic,
        provider: SimulatedProvider,
        service: ServiceTime,
        turn_ttl_s: float,
        rng: random.Random,
    ) -> None:
        self._agenda, self._backlog, self._provider = agenda, backlog, provider
        self._service, self._turn_ttl_s, self._rng = service, turn_ttl_s, rng
        self.sent, self.begun = array("d"), array("d")
        """When each turn was, in seconds; the latest call counts."""
        self._ends = array("d")  # when each turn's call does; below 0 without one
        self._running: list[set[int]] = [set() for _ in range(backlog.partitions)]
        self._owner: list[SimulatedPod] = []
        self._line: deque[SimulatedPod] = deque()  # for the provider
        self._woken_at = math.inf
        self.holding = False
        """A rebalance is under way: nothing begins."""
        self.waiting = self.ready = self.in_flight = 0
        self.answered = self.expired = self.calls = self.called_again = 0
        self.peak_waiting, self.peak_waiting_at = 0, 0.0
        self.peak_in_flight = 0
        self.drained_at: float | None = None
        self._peak_ready = 0
        self._oldest = 0  # the turns before it were looked at when their time to live was over

    def offer(self) -> None:
        """A turn is sent."""
        turn, may_begin = self._backlog.offer()
        self.sent.append(self._agenda.now)
        self.begun.append(0.0)
        self._ends.append(-1.0)
        self.waiting += 1
        if may_begin:
            self._queue(turn)
            self.dispatch(self._owner[self._backlog.partition[turn]])
        if self.waiting > self.peak_waiting:
            self.peak_waiting, self.peak_waiting_at = self.waiting, self._agenda.now

    def end(self, turn: int) -> SimulatedPod | None:
        """A call ends: the pod that made it, or None where it was cut off before."""
        if self._ends[turn] != self._agenda.now:
            return None
        partition = self._backlog.partition[turn]
        pod = self._owner[partition]
        self._running[partition].discard(turn)
        self._free(pod)
        self.answered += 1
        self._done(turn)
        self.dispatch(pod)
        return pod

    def dispatch(self, pod: SimulatedPod) -> None:
        """Begins what may begin at this pod, or puts it in line for the provider."""
        self._expire()
        if self._provider.limited:
            if pod.ready and not pod.in_line:
                pod.in_line = True
                self._line.append(pod)
            self._admit()
        elif not self.holding and not pod.leaving:
            while pod.ready and pod.free:
                self._begin(pod)
        if self.ready > self._peak_ready:
            self._peak_ready, self.drained_at = self.ready, None
        elif not self.ready and self.drained_at is None and self._peak_ready:
            self.drained_at = self._agenda.now

    def deal(self, dealt: Mapping[int, Sequence[int]], pods: Mapping[int, SimulatedPod]) -> None:
        """Gives partitions, with their turns, to new owners; calls of those that moved will be made again."""
        if not self._owner:
            self._owner = [pods[min(pods)]] * len(self._running)
        owner = {partition: pods[number] for number, partitions in dealt.items() for partition in partitions}
        moved = {partition for partition, pod in owner.items() if self._owner[partition] is not pod}
        turns: list[int] = []
        for pod in {id(pod): pod for pod in self._owner}.values():
            gone = [turn for turn in pod.ready if self._backlog.partition[turn] in moved]
            pod.give_up(gone)
            turns += gone
        for partition in moved:
            turns += self._cut_off(partition)
            self._owner[partition] = owner[partition]
        for number, partitions in dealt.items():
            pods[number].partitions = partitions
        for turn in sorted(turns):
            self._push(turn)

    def _queue(self, turn: int) -> None:
        """Its conversation is free: it waits for a worker only."""
        self._push(turn)
        self.ready += 1

    def _expire(self) -> None:
        """Ends what waits for a worker and is over its time to live, whatever goes before it."""
        due = self._agenda.now - self._turn_ttl_s
        while self._oldest < len(self.sent) and self.sent[self._oldest] < due:
            turn, self._oldest = self._oldest, self._oldest + 1
            pod = self._owner[self._backlog.partition[turn]]
            if turn in pod.ready:
                pod.give_up((turn,))
                self._expired(turn)

    def _expired(self, turn: int) -> None:
        self.ready -= 1
        self.waiting -= 1
        self.begun[turn] = self._agenda.now
        self.expired += 1
        self._done(turn)

    def _push(self, turn: int) -> None:
        # The customer of a conversation is one user, as whom fairness counts their turns.
        pod = self._owner[self._backlog.partition[turn]]
        pod.push(turn, self.sent[turn], Origin(user=self._backlog.conversation(turn)))

    def _admit(self) -> None:
        """As many calls as the provider takes now, one of each pod in turn."""
        while self._line and not self.holding:
            if (when := self._provider.admits_at(self._agenda.now)) > self._agenda.now:
                if when < math.inf and when != self._woken_at:
                    self._woken_at = when
                    self._agenda.at(when, self._admit)
                return
            pod = self._line.popleft()
            pod.in_line = False
            if pod.leaving or not (pod.ready and pod.free):
                continue
            self._begin(pod)
            if pod.ready and pod.free:
                pod.in_line = True
                self._line.append(pod)

    def _begin(self, pod: SimulatedPod) -> None:
        now = self._agenda.now
        turn = pod.pop(now)
        if now - self.sent[turn] > self._turn_ttl_s:
            self._expired(turn)
            return
        self.ready -= 1
        self.waiting -= 1
        self.begun[turn] = now
        pod.free -= 1
        self.calls += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._provider.begin(now)
        self._running[self._backlog.partition[turn]].add(turn)
        self._ends[turn] = ends = now + self._service.draw(self._rng)
        self._agenda.ends_at(ends, turn)

    def _free(self, pod: SimulatedPod) -> None:
        pod.free += 1
        self.in_flight -= 1
        self._provider.end()

    def _done(self, turn: int) -> None:
        following = self._backlog.done(turn)
        if following is not None:
            self._queue(following)

    def _cut_off(self, partition: int) -> set[int]:
        turns, self._running[partition] = self._running[partition], set()
        for turn in turns:
            self._free(self._owner[partition])
            self._ends[turn] = -1.0
        self.called_again += len(turns)
        self.waiting += len(turns)
        self.ready += len(turns)
        return turns
