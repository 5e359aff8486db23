"""A moment of the fleet, put together from what Kafka, the workers and the replies say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from forebay.schemas import PartitionState, WorkerState

from .findings import Situation
from .latencies import Window
from .offset_ages import Age, Ages
from .partition_backlog import PartitionBacklog


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is known at one moment."""

    now: float
    """Seconds since the epoch."""
    group: str
    """The consumer group whose progress counts; workers of others are shown, and own nothing."""
    log_ends: Mapping[int, int]
    """The next offset of each partition of the requests."""
    backlogs: Mapping[int, PartitionBacklog]
    """What is done; a partition that no worker has ever committed is missing."""
    states: tuple[WorkerState, ...]
    silent: frozenset[str]
    """Workers that have not reported for a while."""
    offered: float
    answered: float
    """Turns and replies a second."""
    window: Window


class PartitionNow(NamedTuple):
    """One partition of the requests."""

    number: int
    log_end: int
    waiting: int | None
    """Turns that have not begun; None while neither Kafka nor a worker knows."""
    in_flight: int
    oldest: Age | None
    """Of the oldest turn that is not done."""
    worker: str | None
    paused: bool
    first: int | None
    """Offset of the oldest turn that is not done; None where there is none, or nothing is known."""
    first_waiting: int | None
    """The same of those that have not begun."""


def partitions_of(moment: Moment, ages: Ages) -> list[PartitionNow]:
    """All partitions, by number."""
    owners = owners_of(moment)
    return [_partition(moment, number, owners.get(number), ages) for number in sorted(moment.log_ends)]


def owners_of(moment: Moment) -> dict[int, tuple[str, PartitionState]]:
    """Who owns which partition; where a silent worker and another both say so, the other is believed."""
    owners: dict[int, tuple[str, PartitionState]] = {}
    for state in sorted(moment.states, key=lambda state: state.worker_id not in moment.silent):
        if state.group == moment.group:
            owners |= {partition.partition: (state.worker_id, partition) for partition in state.partitions}
    return owners


def _partition(moment: Moment, number: int, owner: tuple[str, PartitionState] | None, ages: Ages) -> PartitionNow:
    log_end, backlog = moment.log_ends[number], moment.backlogs.get(number)
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
    return PartitionNow(
        number,
        log_end,
        waiting,
        in_flight,
        ages.of(number, first, moment.now) if undone and first is not None else None,
        worker,
        own is not None and own.paused,
        first if undone else None,
        first_waiting if waiting else None,
    )


def situation_of(moment: Moment, partitions: Sequence[PartitionNow], **more: Any) -> Situation:
    """The moment as it is judged; ``more`` are fields of `Situation` that others know."""
    own = [state for state in moment.states if state.group == moment.group]
    return Situation(
        workers=[state for state in own if state.worker_id not in moment.silent],
        silent=[state for state in own if state.worker_id in moment.silent],
        unowned=[partition.number for partition in partitions if partition.waiting and partition.worker is None],
        oldest_s=max((partition.oldest.seconds for partition in partitions if partition.oldest), default=0.0),
        replies=moment.window.turns,
        errors=moment.window.errors,
        **more,
    )
