"""Fairness: floods wait behind themselves, weights are kept, nobody starves."""

from __future__ import annotations

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


@given(st.lists(st.one_of(senders, st.none(), st.integers(0, 50)), max_size=200))
def test_everything_comes_out_once(steps: list[Origin | int | None]) -> None:
    """A sender is a turn that comes, None takes one, a number discards one that waits."""
    queue, waiting, tickets = FairQueue(), list[int](), count(1)
    for at, step in enumerate(steps):
        if isinstance(step, Origin):
            waiting.append(next(tickets))
            queue.push(waiting[-1], waiting[-1], float(at), step)
        elif step is None:
            taken = queue.pop()
            assert (taken is None) is (not waiting)
            if taken is not None:
                assert isinstance(taken, int)
                waiting.remove(taken)
        elif waiting:
            queue.discard(waiting.pop(step % len(waiting)))
    rest = [queue.pop() for _ in waiting]
    assert sorted(ticket for ticket in rest if isinstance(ticket, int)) == sorted(waiting)
    assert queue.pop() is None


def push(queue: FairQueue, tickets: count[int], who: str, turns: int, sender: Origin, at: float = 0.0) -> None:
    for _ in range(turns):
        ticket = next(tickets)
        queue.push((who, ticket), ticket, at, sender)


def pop(queue: FairQueue, turns: int) -> list[str]:
    taken = [queue.pop() for _ in range(turns)]
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
