"""Crew: the pods of a simulated sale, started and ended by the autoscaler; the partitions are shared out each time."""

from __future__ import annotations

from collections.abc import Callable

from .agenda import Agenda
from .assignment import assigned
from .autoscaler import Autoscaler, Scaling
from .simulated_work import SimulatedPod, SimulatedWork


class Crew:
    """Members of the group, by age, and those that start."""

    def __init__(
        self,
        agenda: Agenda,
        work: SimulatedWork,
        lag: Callable[[], int],
        scaling: Scaling,
        *,
        concurrency: int,
        partitions: int,
        rebalance_s: float,
        drain_s: float,
        patience_s: float,
    ) -> None:
        """``lag`` tells the group's lag when it is asked."""
        self._agenda, self._work, self._lag, self._scaling = agenda, work, lag, scaling
        self._concurrency, self._partitions = concurrency, partitions
        self._rebalance_s, self._drain_s = rebalance_s, drain_s
        self._patience_s = patience_s
        self._autoscaler = Autoscaler(scaling)
        self._members: dict[int, SimulatedPod] = {}
        self._numbered = 0
        self._starting: list[list[int]] = []  # how many, of each wish
        self._rebalance = 0  # the one under way, or the last
        self.rebalances = self.peak = 0
        for _ in range(scaling.min_pods):
            self._add()
        self._deal()
        self._look()

    @property
    def pods(self) -> int:
        """That take turns, or will at the end of the rebalance."""
        return sum(not pod.leaving for pod in self._members.values())

    def leave_if_idle(self, pod: SimulatedPod) -> None:
        """A pod that was sent off goes when its last call has ended."""
        if pod.leaving and pod.idle:
            self._leave(pod)

    def _look(self) -> None:
        """The autoscaler decides, and will again."""
        agenda, scaling = self._agenda, self._scaling
        staying = [pod for pod in self._members.values() if not pod.leaving]
        there = len(staying) + sum(batch[0] for batch in self._starting)
        wanted = self._autoscaler.decide(agenda.now, self._lag(), there)
        if wanted > there:
            batch = [wanted - there]
            self._starting.append(batch)
            agenda.at(agenda.now + max(0.0, scaling.pod_start_s - self._rebalance_s), lambda: self._join(batch))
        for _ in range(there - wanted):  # those that start go first, then the youngest
            if self._starting:
                self._starting[-1][0] -= 1
                self._starting = [batch for batch in self._starting if batch[0]]
            else:
                self._send_off(staying.pop())
        agenda.at(agenda.now + scaling.every_s, self._look)

    def _add(self) -> None:
        self._members[self._numbered] = SimulatedPod(self._concurrency, self._patience_s)
        self._numbered += 1

    def _join(self, batch: list[int]) -> None:
        self._starting = [other for other in self._starting if other is not batch]
        for _ in range(batch[0]):
            self._add()
        if batch[0]:
            self._begin_rebalance()

    def _send_off(self, pod: SimulatedPod) -> None:
        pod.leaving = True
        self._agenda.at(self._agenda.now + self._drain_s, lambda: self._leave(pod))
        self.leave_if_idle(pod)

    def _leave(self, pod: SimulatedPod) -> None:
        number = next((number for number, member in self._members.items() if member is pod), None)
        if number is not None:
            del self._members[number]
            self._begin_rebalance()

    def _begin_rebalance(self) -> None:
        """Nothing begins until all members have come together; who comes or goes meanwhile makes it begin anew."""
        self._work.holding = True
        self._rebalance += 1
        this = self._rebalance
        self._agenda.at(self._agenda.now + self._rebalance_s, lambda: self._settle(this))

    def _settle(self, rebalance: int) -> None:
        if rebalance != self._rebalance:
            return
        self._work.holding = False
        self.rebalances += 1
        self._deal()
        for pod in list(self._members.values()):
            self._work.dispatch(pod)
            self.leave_if_idle(pod)

    def _deal(self) -> None:
        had = {number: pod.partitions for number, pod in self._members.items()}
        self._work.deal(assigned(had, list(self._members), self._partitions), self._members)
        self.peak = max(self.peak, self.pods)
