"""Fairness: floods wait behind themselves, weights are kept, nobody starves."""

from __future__ import annotations

import math
from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from forebay.schemas import Priority
from forebay.workers.engine.fairness import FairQueue, Origin

senders = st.builds(
    Origin,
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "u", "v"]),
    st.sampled_from(["high", "normal", "low"]),
)


@given(
    st.lists(st.one_of(senders, st.none(), st.integers(0, 50)), max_size=200),
    st.sampled_from([0.0, 10.0, 50.0, math.inf]),
)
def test_everything_comes_out_once(steps: list[Origin | int | None], patience_s: float) -> None:
    """A sender is a turn that comes, None takes one, a number discards one that waits."""
    queue, waiting, tickets = FairQueue(patience_s=patience_s), list[int](), count(1)
    for at, step in enumerate(steps):
        if isinstance(step, Origin):
            waiting.append(next(tickets))
            queue.push(waiting[-1], waiting[-1], float(at), step)
        elif step is None:
            taken = queue.pop(float(at))
            assert (taken is None) is (not waiting)
            if taken is not None:
                assert isinstance(taken, int)
                waiting.remove(taken)
        elif waiting:
            queue.discard(waiting.pop(step % len(waiting)))
    rest = [queue.pop(float(len(steps))) for _ in waiting]
    assert sorted(ticket for ticket in rest if isinstance(ticket, int)) == sorted(waiting)
    assert queue.pop() is None


def push(queue: FairQueue, tickets: count[int], who: str, turns: int, sender: Origin, at: float = 0.0) -> None:
    for _ in range(turns):
        ticket = next(tickets)
        queue.push((who, ticket), ticket, at, sender)


def pop(queue: FairQueue, turns: int, now: float = 0.0) -> list[str]:
    taken = [queue.pop(now) for _ in range(turns)]
    return [entry[0] for entry in taken if isinstance(entry, tuple)]


def test_a_tenants_flood_does_not_slow_the_others() -> None:
    queue, tickets = FairQueue(), count(1)
    push(queue, tickets, "flood", 5_000, Origin("big"))
    pop(queue, 100)
    push(queue, tickets, "quiet", 3, Origin("small"), at=60.0)
    assert Counter(pop(queue, 7))["quiet"] == 3


def test_a_users_flood_does_not_slow_the_others() -> None:
    queue, tickets = FairQueue(), count(1)
    push(queue, tickets, "flood", 5_000, Origin("shop", "u-1"))
    pop(queue, 100)
    push(queue, tickets, "quiet", 2, Origin("shop", "u-2"), at=60.0)
    push(queue, tickets, "unknown", 2, Origin("shop"), at=60.0)
    served = Counter(pop(queue, 8))
    assert (served["quiet"], served["unknown"]) == (2, 2)


def test_tenants_share_by_weight() -> None:
    queue, tickets = FairQueue({"gold": 3.0}), count(1)
    push(queue, tickets, "gold", 1_000, Origin("gold"))
    push(queue, tickets, "iron", 1_000, Origin("iron"))
    assert abs(Counter(pop(queue, 400))["gold"] - 300) <= 3


@given(st.integers(1, 50), st.integers(2, 6))
def test_users_of_a_tenant_come_to_equal_parts(turns: int, users: int) -> None:
    queue, tickets = FairQueue(), count(1)
    for user in range(users):
        push(queue, tickets, f"u-{user}", turns, Origin("shop", f"u-{user}"))
    for taken in range(1, turns + 1):
        served = Counter(pop(queue, users))
        assert set(served.values()) == {1}, taken


def test_who_was_idle_has_saved_nothing() -> None:
    """A tenant that comes late gets its share from now on, not what it did not ask for before."""
    queue, tickets = FairQueue(), count(1)
    push(queue, tickets, "early", 1_000, Origin("early"))
    pop(queue, 500)
    push(queue, tickets, "late", 1_000, Origin("late"))
    assert abs(Counter(pop(queue, 200))["late"] - 100) <= 1


def test_low_waits_but_does_not_starve() -> None:
    queue, tickets = FairQueue(), count(1)
    low: Priority = "low"
    push(queue, tickets, "low", 1, Origin(priority=low))
    for second in range(100):
        push(queue, tickets, "normal", 1, Origin(), at=float(second))
        if pop(queue, 1) == ["low"]:
            assert second == 0 or second >= 15
            break
        push(queue, tickets, "normal", 1, Origin(), at=float(second))
    else:
        raise AssertionError("the low turn never went")


def test_what_is_over_is_forgotten() -> None:
    queue, tickets = FairQueue(), count(1)
    for number in range(10_000):
        push(queue, tickets, "x", 1, Origin(f"tenant-{number}", f"user-{number}"))
        pop(queue, 1)
    assert len(queue._tenants) <= 1_100
    one, line = FairQueue(), Origin("shop")
    push(one, tickets, "x", 20, line._replace(user="flood"))
    for number in range(10_000):
        push(one, tickets, "x", 1, line._replace(user=f"user-{number}"))
        push(one, tickets, "x", 1, line)
        pop(one, 2)
    assert sum(len(found.places) for found in one._tenants["shop"].lines.values()) <= 1_100


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=200), st.floats(0, 100), st.sampled_from([None, "shop"])
)
def test_who_waited_beyond_patience_goes_after_those_who_did_not(
    steps: list[int | None], patience_s: float, tenant: str | None
) -> None:
    """None takes a turn, a number is a customer who comes so many seconds after the one before."""
    queue, waiting, now = FairQueue(patience_s=patience_s), list[float](), 0.0
    for ticket, step in enumerate(steps, 1):
        if step is not None:
            now += step
            waiting.append(now)
            queue.push(now, ticket, now, Origin(tenant))
        elif waiting:
            in_time = [at for at in waiting if now - at <= patience_s]
            expected = min(in_time) if in_time else max(waiting)
            assert queue.pop(now) == expected
            waiting.remove(expected)


def test_a_tenant_whose_turns_are_all_late_keeps_its_share() -> None:
    queue, tickets = FairQueue({"gold": 3.0}, patience_s=15.0), count(1)
    push(queue, tickets, "gold", 1_000, Origin("gold"))
    push(queue, tickets, "iron", 1_000, Origin("iron"), at=90.0)
    assert abs(Counter(pop(queue, 400, now=100.0))["gold"] - 300) <= 3


def test_a_users_flood_that_is_late_does_not_slow_the_others() -> None:
    queue, tickets = FairQueue(patience_s=15.0), count(1)
    push(queue, tickets, "quiet", 1, Origin("shop", "u-2"))
    push(queue, tickets, "unknown", 1, Origin("shop"), at=1.0)
    push(queue, tickets, "flood", 5_000, Origin("shop", "u-1"), at=2.0)
    served = Counter(pop(queue, 3, now=60.0))
    assert (served["quiet"], served["unknown"]) == (1, 1)


def test_a_low_turn_is_late_after_its_head_start_only() -> None:
    queue, tickets = FairQueue(patience_s=15.0), count(1)
    push(queue, tickets, "low", 1, Origin(priority="low"))
    push(queue, tickets, "normal", 1, Origin(), at=15.5)
    assert pop(queue, 1, now=29.0) == ["low"], "older than its head start, and not yet late"
    push(queue, tickets, "low", 1, Origin(priority="low"))
    assert pop(queue, 2, now=30.4) == ["normal", "low"], "late by now"


def test_among_the_late_a_priority_counts_as_fresher() -> None:
    queue, tickets = FairQueue(patience_s=1.0), count(1)
    for at, who in enumerate(("high", "normal", "low")):
        priority: Priority = "high" if who == "high" else "normal" if who == "normal" else "low"
        push(queue, tickets, who, 1, Origin(priority=priority), at=float(at))
    assert pop(queue, 3, now=1_000.0) == ["high", "normal", "low"]
