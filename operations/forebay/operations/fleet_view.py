"""A view of the fleet now, made of what Kafka, the workers and the replies tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from forebay.schemas import PartitionState, WorkerState

from .findings import Situation
from .latencies import RecentReplies
from .offset_ages import Age, Ages
from .partition_backlog import PartitionBacklog


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """What is known of the fleet now."""

    now: float
    """Seconds since the epoch."""
    group: str
    """The consumer group whose progress counts; workers of other groups are shown, and own nothing."""
    log_ends: Mapping[int, int]
    """The next offset of each partition of the requests."""
    backlogs: Mapping[int, PartitionBacklog]
    """Backlog of each partition; one that no worker has ever committed is missing."""
    states: tuple[WorkerState, ...]
    silent: frozenset[str]
    """Workers that have not reported for a while."""
    offered: float
    answered: float
    """Turns and replies a second."""
    replies: RecentReplies


class PartitionView(NamedTuple):
    """One partition of the requests."""

    number: int
    log_end: int
    waiting: int | None
    """Turns that have not begun; None while that is not known."""
    in_flight: int
    oldest: Age | None
    """Age of the oldest turn that is not done."""
    worker: str | None
    paused: bool
    first: int | None
    """Offset of the oldest turn that is not done; None if there is none, or it is not known."""
    first_waiting: int | None
    """Offset of the oldest turn that has not begun; None if there is none, or it is not known."""


def partitions_of(view: FleetView, ages: Ages) -> list[PartitionView]:
    """All partitions, by number."""
    owners = owners_of(view)
    return [_partition(view, number, owners.get(number), ages) for number in sorted(view.log_ends)]


def owners_of(view: FleetView) -> dict[int, tuple[str, PartitionState]]:
    """(worker, its state) by partition. If a silent worker and another one both report it, the other one counts."""
    owners: dict[int, tuple[str, PartitionState]] = {}
    for state in sorted(view.states, key=lambda state: state.worker_id not in view.silent):
        if state.group == view.group:
            owners |= {partition.partition: (state.worker_id, partition) for partition in state.partitions}
    return owners


def _partition(view: FleetView, number: int, owner: tuple[str, PartitionState] | None, ages: Ages) -> PartitionView:
    log_end, backlog = view.log_ends[number], view.backlogs.get(number)
    worker, own = owner if owner is not None else (None, None)
    undone, first, first_waiting = None, None, None
    if backlog is not None:
        undone = backlog.waiting
        first = backlog.first_from(0)
        first_waiting = backlog.first_from(own.begun if own is not None else 0)
    elif own is not None:  # nothing was committed yet: its worker knows what it has taken
        undone = own.waiting + own.in_flight + max(0, log_end - own.position)
        first, first_waiting = own.begun - own.in_flight, own.begun
    in_flight = min(own.in_flight, undone or 0) if own is not None else 0
    waiting = None if undone is None else undone - in_flight
    return PartitionView(
        number,
        log_end,
        waiting,
        in_flight,
        ages.of(number, first, view.now) if undone and first is not None else None,
        worker,
        own is not None and own.paused,
        first if undone else None,
        first_waiting if waiting else None,
    )


def situation_of(view: FleetView, partitions: Sequence[PartitionView], **more: Any) -> Situation:
    """The view as findings judge it; ``more`` are further fields of `Situation`."""
    own = [state for state in view.states if state.group == view.group]
    return Situation(
        workers=[state for state in own if state.worker_id not in view.silent],
        silent=[state for state in own if state.worker_id in view.silent],
        unowned=[partition.number for partition in partitions if partition.waiting and partition.worker is None],
        oldest_s=max((partition.oldest.seconds for partition in partitions if partition.oldest), default=0.0),
        replies=view.replies.turns,
        errors=view.replies.errors,
        **more,
    )
