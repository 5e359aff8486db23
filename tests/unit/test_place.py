"""A turn's place in the queue, and for how long: from commits and what the workers can."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.gateway.stream.place import Place, Queue, WorkerShare
from forebay.operations.partition_backlog import PartitionBacklog

BACKLOGS = st.builds(
    lambda end, undone, more: PartitionBacklog(tuple(sorted(o for o in undone if o < end)), end, end + more),
    st.integers(0, 200),
    st.sets(st.integers(0, 199)),
    st.integers(0, 200),
)


@given(BACKLOGS, st.integers(0, 400))
def test_turns_before_an_offset_are_those_that_are_not_done(backlog: PartitionBacklog, offset: int) -> None:
    undone = set(backlog.undone) | set(range(backlog.end, backlog.log_end))
    assert backlog.waiting == len(undone)
    assert backlog.is_done(offset) == (offset < backlog.end and offset not in undone)
    if offset <= backlog.log_end:
        assert backlog.undone_before(offset) == sum(one < offset for one in undone)
        assert backlog.first_from(offset) == min((one for one in undone if one >= offset), default=backlog.log_end)


def queue(waiting: int, permits: int = 10, service_s: float | None = 2.0) -> Queue:
    made = Queue()
    if service_s is not None:
        made.seen(service_s)
    made.sample({0: PartitionBacklog((), 100, 100 + waiting)}, {"w": WorkerShare((0,), permits)}, 0.0)
    return made


def ahead(queue: Queue, partition: int, offset: int) -> int:
    place = queue.place(partition, offset, 0.0)
    assert place is not None
    return place.ahead


def test_while_permits_are_free_nobody_is_before_anybody() -> None:
    assert queue(9).place(0, 108, 0.0) == Place(0, 0.0)
    assert queue(9).next_wait_s(0, 0.0) == 0.0


def test_by_littles_law_before_anything_is_measured() -> None:
    # 10 at once for 2 s each are 5 a second; the turn at 149 has 49 before it, of which 9 leave room for one more.
    assert queue(50).place(0, 149, 0.0) == Place(40, 8.0)


def test_nothing_is_claimed_while_nothing_is_known() -> None:
    assert queue(50, service_s=None).place(0, 149, 0.0) == Place(40, None)
    assert Queue().place(0, 7, 0.0) is None
    assert Queue().next_wait_s(0, 0.0) is None
    assert Queue().longest_wait_s(0.0) == 0.0
    nobody = Queue()
    nobody.sample({0: PartitionBacklog((), 0, 5)}, {}, 0.0)
    assert nobody.place(0, 4, 0.0) == Place(4, None)


def test_a_busy_worker_is_measured() -> None:
    one = queue(200)
    for second in range(1, 11):  # 10 a second, twice of what Little's law says
        one.sample({0: PartitionBacklog((), 100 + 10 * second, 300)}, {"w": WorkerShare((0,), 10)}, float(second))
    assert one.place(0, 299, 10.0) == Place(90, 9.0)
    assert one.place(0, 299, 12.0) == Place(70, 7.0)  # what was surely done since


def test_an_outage_is_measured_too_and_gives_no_estimate() -> None:
    one = queue(200)
    for second in range(1, 20):
        one.sample({0: PartitionBacklog((), 100, 300)}, {"w": WorkerShare((0,), 10)}, float(second))
    assert one.place(0, 299, 20.0) == Place(190, None)


def test_the_other_partitions_of_a_worker_go_before_in_proportion() -> None:
    one = Queue()
    one.seen(1.0)
    backlogs = {0: PartitionBacklog((), 0, 100), 1: PartitionBacklog((), 0, 300)}
    one.sample(backlogs, {"w": WorkerShare((0, 1), 10)}, 0.0)
    assert ahead(one, 0, 50) == 200 - 10 + 1
    two = Queue()
    two.seen(1.0)
    two.sample(backlogs, {"v": WorkerShare((0,), 10), "w": WorkerShare((1,), 10)}, 0.0)
    assert ahead(two, 0, 50) == 50 - 10 + 1


def test_turns_done_out_of_order_are_before_nobody() -> None:
    one = Queue()
    one.seen(1.0)
    one.sample({0: PartitionBacklog((10, 40), 90, 90)}, {"w": WorkerShare((0,), 1)}, 0.0)
    assert ahead(one, 0, 89) == 2
    assert one.is_done(0, 89)
    assert not one.is_done(0, 40)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=30), st.integers(1, 20))
def test_a_later_turn_is_never_before_an_earlier_one(done: list[int], permits: int) -> None:
    one, end = Queue(), 0
    one.seen(1.0)
    for second, more in enumerate(done):
        end += more
        one.sample({0: PartitionBacklog((), end, 1000)}, {"w": WorkerShare((0,), permits)}, float(second))
    aheads = [ahead(one, 0, offset) for offset in range(end, 1000, 37)]
    assert aheads == sorted(aheads)


def test_while_partitions_are_paused_nobody_knows_for_how_long() -> None:
    one = Queue()
    one.seen(1.0)
    one.sample(
        {0: PartitionBacklog((), 0, 5), 1: PartitionBacklog((), 0, 0)}, {"w paused": WorkerShare((0, 1), 0)}, 0.0
    )
    assert one.place(0, 3, 0.0) == Place(3, None)
    assert one.place(1, 0, 0.0) == Place(0, None)
