"""Lanes: order within a conversation, one at a time, no starvation, and permits that never leak."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from forebay.schemas import Priority
from forebay.workers.engine.fairness import HEAD_START_S, Origin
from forebay.workers.engine.lanes import Lanes

Turn = tuple[str, int]
priorities = st.sampled_from(["high", "normal", "low"])


class LanesAgainstAModel(RuleBasedStateMachine):
    """Every sequence of offers, takes, sleeps, wake-ups, ends and forgotten partitions."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.lanes: Lanes[Turn] = Lanes(permits=3)
        self.now = 0.0
        self.offered: dict[str, list[int]] = {}
        self.held: set[str] = set()
        self.asleep: set[str] = set()
        self.asking: set[str] = set()
        self.count = 0

    @rule(
        lane=st.sampled_from("abcdef"),
        priority=priorities,
        wait=st.floats(0, 30),
        user=st.sampled_from([None, "u", "v"]),
    )
    def offer(self, lane: str, priority: Priority, wait: float, user: str | None) -> None:
        self.now += wait
        self.count += 1
        self.lanes.offer(lane, (lane, self.count), self.now, Origin("ab"[self.count % 2], user, priority))
        self.offered.setdefault(lane, []).append(self.count)

    @rule(target=running)
    def take(self) -> str:
        turn = self.lanes.take()
        if turn is None:
            idle = [lane for lane, waiting in self.offered.items() if waiting and lane not in self.busy]
            assert len(self.held) == self.lanes.permits or not (idle or self.asking)
            return ""
        lane, number = turn
        if lane in self.asking:
            self.asking.discard(lane)
        else:
            assert lane not in self.busy
            assert self.offered[lane].pop(0) == number
        self.held.add(lane)
        return lane

    @rule(lane=running)
    def sleep(self, lane: str) -> None:
        if lane in self.busy:
            self.lanes.give_back(lane)
            self.held.discard(lane)
            self.asking.discard(lane)
            self.asleep.add(lane)

    @rule(lane=running)
    def wake(self, lane: str) -> None:
        if lane in self.busy:
            self.lanes.reclaim(lane, self.now)
            if lane in self.asleep:
                self.asleep.discard(lane)
                self.asking.add(lane)

    @rule(lane=consumes(running))
    def finish(self, lane: str) -> None:
        if lane in self.busy:
            self.lanes.finish(lane)
            for state in (self.held, self.asleep, self.asking):
                state.discard(lane)

    @precondition(lambda self: self.lanes.waiting)
    @rule(odd=st.booleans())
    def forget(self, odd: bool) -> None:
        before = sum(map(len, self.offered.values()))
        self.offered = {
            lane: [number for number in waiting if number % 2 != odd] for lane, waiting in self.offered.items()
        }
        dropped = self.lanes.forget(lambda turn: turn[1] % 2 == odd)
        assert len(dropped) == before - sum(map(len, self.offered.values()))

    @property
    def busy(self) -> set[str]:
        return self.held | self.asleep | self.asking

    @invariant()
    def counts_agree(self) -> None:
        assert self.lanes.in_flight == len(self.held) <= self.lanes.permits
        assert self.lanes.waiting == sum(map(len, self.offered.values()))
        idle = {lane for lane, waiting in self.offered.items() if waiting and lane not in self.busy}
        assert self.lanes.ready == len(idle) + len(self.asking)
        assert len(self.lanes) == len(idle | self.busy)


TestLanes = LanesAgainstAModel.TestCase
TestLanes.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@given(st.lists(st.tuples(priorities, st.floats(0, 100)), min_size=1, max_size=60))
def test_a_turn_is_overtaken_only_by_its_head_start(arrivals: list[tuple[Priority, float]]) -> None:
    lanes: Lanes[int] = Lanes(permits=1)
    for number, (priority, at) in enumerate(arrivals):
        lanes.offer(number, number, at, Origin(priority=priority))
    order = []
    while (taken := lanes.take()) is not None:
        order.append(taken)
        lanes.finish(taken)
    assert sorted(order) == list(range(len(arrivals)))
    dues = [arrivals[number][1] + HEAD_START_S[arrivals[number][0]] for number in order]
    assert dues == sorted(dues)


def test_high_goes_before_normal_before_low() -> None:
    lanes: Lanes[str] = Lanes(permits=1)
    backwards: tuple[Priority, ...] = ("low", "normal", "high")
    for priority in backwards:
        lanes.offer(priority, priority, 0.0, Origin(priority=priority))
    taken = []
    while (item := lanes.take()) is not None:
        taken.append(item)
        lanes.finish(item)
    assert taken == ["high", "normal", "low"]


def test_a_hot_conversation_does_not_hold_the_others() -> None:
    lanes: Lanes[tuple[str, int]] = Lanes(permits=10)
    for number in range(1_000):
        lanes.offer("hot", ("hot", number), 0.0)
    for number in range(9):
        lanes.offer(f"cold-{number}", (f"cold-{number}", 0), 1.0)
    taken = [lanes.take() for _ in range(10)]
    assert len({turn[0] for turn in taken if turn}) == 10
    assert lanes.take() is None


def test_who_waits_where_nothing_runs_is_found_by_age() -> None:
    lanes: Lanes[str] = Lanes(1)
    for at, lane in enumerate(("busy", "old", "busy", "young")):
        lanes.offer(lane, f"{lane} {at}", float(at))
    assert lanes.take() == "busy 0"
    assert list(lanes.idle_since(3.0)) == [("old", "old 1")]
    assert list(lanes.idle_since(4.0)) == [("old", "old 1"), ("young", "young 3")]
