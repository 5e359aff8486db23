"""What `forebay status` makes of what it sees, and how it looks on a narrow terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from forebay.cli.status_screen import document, screen, spark
from forebay.operations.fleet_status import DeadLetterCounts, FleetStatus, counted, status_of
from forebay.operations.fleet_view import FleetView
from forebay.operations.latencies import RecentReplies, Spread
from forebay.operations.offset_ages import Ages
from forebay.operations.partition_backlog import PartitionBacklog
from forebay.schemas import ModelState, PartitionState, Spending, WorkerState

NOW = 1_800_000_000.0
NO_LETTERS = DeadLetterCounts({}, 0)


def worker(name: str = "w-1", **fields: Any) -> WorkerState:
    at = datetime.fromtimestamp(NOW, UTC)
    given: dict[str, Any] = {
        "version": "1", "host": "h", "pid": 1, "group": "g", "started_at": at, "reported_at": at, "state": "working",
        "concurrency": 50, "permits": 50, "in_flight": 0, "waiting": 0,
        "models": (ModelState(name="anthropic/claude-haiku-4-5", breaker="closed"),),
    }  # fmt: skip
    return WorkerState(worker_id=name, **given | fields)


def seen(
    *workers: WorkerState, letters: DeadLetterCounts = NO_LETTERS, ages: Ages | None = None, **fields: Any
) -> FleetStatus:
    told: dict[str, Any] = {
        "now": NOW, "group": "g", "log_ends": {0: 0}, "backlogs": {0: PartitionBacklog((), 0, 0)}, "states": workers,
        "silent": frozenset(), "offered": 0.0, "answered": 0.0, "replies": RecentReplies(0, Spread(), Spread(), {}, {}),
    }  # fmt: skip
    view = FleetView(**told | fields)
    committed = {number: backlog.end - len(backlog.undone) for number, backlog in view.backlogs.items()}
    return status_of(view, ages or Ages(), committed, letters, 120.0)


def shown(status: FleetStatus, width: int = 80, **more: Any) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(screen(status, "kafka:9092", **more))
    return capture.get()


BUSY = PartitionBacklog(undone=(100, 104), end=110, log_end=150)
"""Two turns in flight, of which a later one is done already, and forty that nobody has fetched."""
OWNED = PartitionState(partition=0, position=120, begun=110, waiting=10, in_flight=2)


def busy(**fields: Any) -> FleetStatus:
    ages = Ages()
    for offset, age_s in ((100, 30.0), (110, 12.0)):
        ages.heard(0, offset, int((NOW - age_s) * 1000))
    holder = worker(partitions=(OWNED,), in_flight=2, waiting=10, oldest_turn_s=30.0)
    return seen(holder, ages=ages, log_ends={0: 150}, backlogs={0: BUSY}, **fields)


def test_waiting_in_flight_and_the_oldest_that_waits_are_told_apart() -> None:
    told = document(busy(offered=9.0, answered=4.0))["turns"]
    assert told == {
        "lag": 42, "waiting": 40, "in_flight": 2, "offered_a_second": 9.0, "answered_a_second": 4.0, "trend_a_second": 5.0,
        "oldest_waiting_s": 12.0, "expire_after_s": 120.0,
    }  # fmt: skip


def test_a_turn_that_is_being_answered_does_not_wait() -> None:
    ages = Ages()
    ages.heard(0, 100, int((NOW - 30) * 1000))
    own = PartitionState(partition=0, position=101, begun=101, waiting=0, in_flight=1)
    status = seen(worker(partitions=(own,)), ages=ages, log_ends={0: 101}, backlogs={0: PartitionBacklog((), 100, 101)})
    assert (status.waiting, status.in_flight, status.oldest_waiting_s) == (0, 1, None)
    assert status.situation.oldest_s == 30.0


def test_partitions_without_a_worker_are_named() -> None:
    status = seen(
        worker(), log_ends={0: 5, 1: 0}, backlogs={0: PartitionBacklog((), 0, 5), 1: PartitionBacklog((), 0, 0)}
    )
    assert document(status)["unowned_partitions"] == [0, 1]
    assert [one.code for one in status.findings] == ["unowned-partitions"]
    assert "partition 0 belong" in status.findings[0].text, "only that in which a turn waits is a finding"


def test_a_group_of_another_name_owns_nothing_here() -> None:
    status = seen(worker(group="other"))
    assert document(status)["workers"] == []
    assert [one.code for one in status.findings] == ["no-workers"]


def test_money_that_is_shared_is_told_once_and_other_money_added_up() -> None:
    shared = Spending(hour_usd=8.5, hour_ceiling_usd=10.0, shared=True)
    status = seen(worker("w-1", spending=shared), worker("w-2", spending=shared))
    assert document(status)["spending"]["hour_usd"] == 8.5
    status = seen(worker("w-1", spending=Spending(hour_usd=1.0)), worker("w-2", spending=Spending(hour_usd=2.0)))
    assert document(status)["spending"]["hour_usd"] == 3.0


def test_kafka_that_goes_away_meanwhile_is_the_first_thing_said() -> None:
    status = busy().without_kafka(12.0)
    assert [one.code for one in status.findings] == ["kafka-away"]
    assert "12 s" in shown(status)


def test_the_worst_stands_on_top_and_says_where_to_read_on() -> None:
    open_ = ModelState(name="anthropic/claude-haiku-4-5", breaker="open", reason="529 overloaded")
    lines = shown(seen(worker(models=(open_,), permits=5), letters=DeadLetterCounts({"invalid": 2}, 9))).splitlines()
    assert lines[1].startswith("✗ Breaker open: anthropic/claude-haiku-4-5 at 1 of 1 workers: 529 overloaded")
    assert "docs/runbook.md#breaker-open" in " ".join(lines[1:3])
    assert [line[0] for line in lines[1:8] if line[0] in "✗!"] == ["✗", "✗", "!"]
    assert "✓ All is well." in shown(seen(worker())).splitlines()[1]


def test_nothing_that_others_wrote_drives_the_terminal() -> None:
    evil = "w\x1b[2J\u202ex"
    status = seen(
        worker(evil, trouble="\x1b]0;x\x07[bold]", models=(ModelState(name=evil, breaker="open", reason="\x1b[1m"),)),
        letters=DeadLetterCounts({evil: 3}, 3),
    )
    text = shown(status)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"w\u001b[2J\u202ex" in text


def test_many_workers_are_cut_to_the_screen_with_those_in_trouble_on_top() -> None:
    many = [worker(f"w-{number:03}") for number in range(200)] + [worker("zz-ill", trouble="the store is away")]
    text = shown(seen(*many), most_workers=4)
    assert "… and 197 more" in text
    assert text.index("zz-ill  ") < text.index("w-000")


NAMES = st.text(min_size=1, max_size=60)
STATUSES = st.builds(
    lambda names, letters, counts, offered: seen(
        *(worker(name, in_flight=counts, waiting=counts, oldest_turn_s=float(counts), trouble=name) for name in names),
        letters=DeadLetterCounts(letters, counts),
        log_ends={0: counts},
        backlogs={0: PartitionBacklog((), 0, counts)},
        offered=offered,
    ),
    st.lists(NAMES, max_size=4, unique=True),
    st.dictionaries(NAMES, st.integers(1, 10**6), max_size=6),
    st.integers(0, 10**7),
    st.floats(0, 1e5),
)


@given(STATUSES, st.sampled_from([80, 100, 200]))
def test_it_fits_the_terminal_whatever_is_so(status: FleetStatus, width: int) -> None:
    history = [0, 3, status.waiting]
    assert all(cell_len(line) <= width for line in shown(status, width, history=history).splitlines())
    assert orjson.loads(orjson.dumps(document(status)))["severe"] == status.severe


def test_small_things() -> None:
    assert spark([0, 1, 2, 7]) == "▁▂▃█"
    assert spark([0, 0]) == "▁▁"
    assert counted([{"a": 1}, {"a": 2, "b": 1}, {}]) == {"a": 3, "b": 1}
