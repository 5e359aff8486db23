"""The timeline: one point a second of the last half hour, so that plots are full when a page opens. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from forebay.operations.fleet_view import FleetView, PartitionView

KEPT = 1_800
"""Points: half an hour."""


class Point(NamedTuple):
    """The fleet in one second."""

    at: float
    """Seconds since the epoch."""
    offered: float
    """Turns written a second."""
    answered: float
    """Replies written a second."""
    waiting: int
    in_flight: int
    oldest_s: float
    queued_p50: float | None
    queued_p99: float | None
    model_p50: float | None
    model_p99: float | None
    failed: int
    """Replies with an error in the last seconds."""


def point_of(view: FleetView, partitions: Iterable[PartitionView]) -> Point:
    """The fleet now, in a few numbers."""
    partitions = tuple(partitions)
    ages = [partition.oldest.seconds for partition in partitions if partition.oldest is not None]
    window = view.replies
    return Point(
        at=view.now,
        offered=view.offered,
        answered=view.answered,
        waiting=sum(partition.waiting or 0 for partition in partitions),
        in_flight=sum(partition.in_flight for partition in partitions),
        oldest_s=max(ages, default=0.0),
        queued_p50=window.queued.p50,
        queued_p99=window.queued.p99,
        model_p50=window.model.p50,
        model_p99=window.model.p99,
        failed=sum(window.errors.values()),
    )


class Timeline:
    """Keeps the latest points."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=KEPT)

    def add(self, point: Point) -> None:
        """Adds a point; the oldest is dropped."""
        self._points.append(point)

    def columns(self) -> dict[str, list[float | None]]:
        """Each field over time, oldest first: a third of the bytes of a list of objects."""
        rounded = [[None if value is None else round(value, 1) for value in point] for point in self._points]
        columns = [list(column) for column in zip(*rounded, strict=True)] or [[] for _ in Point._fields]
        return dict(zip(Point._fields, columns, strict=True))
