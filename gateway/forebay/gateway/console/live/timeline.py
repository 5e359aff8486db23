"""The last half hour, a point a second: so that the plots of a page that opens begin full. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from forebay.operations.fleet_view import Moment, PartitionNow

KEPT = 1_800
"""Points: half an hour."""


class Point(NamedTuple):
    """One second."""

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
    """Replies of the last seconds that carry an error."""


def point_of(moment: Moment, partitions: Iterable[PartitionNow]) -> Point:
    """The moment in a few numbers."""
    partitions = tuple(partitions)
    ages = [partition.oldest.seconds for partition in partitions if partition.oldest is not None]
    window = moment.window
    return Point(
        at=moment.now,
        offered=moment.offered,
        answered=moment.answered,
        waiting=sum(partition.waiting or 0 for partition in partitions),
        in_flight=sum(partition.in_flight for partition in partitions),
        oldest_s=max(ages, default=0.0),
        queued_p50=window.queued.p50,
        queued_p99=window.queued.p99,
        model_p50=window.model.p50,
        model_p99=window.model.p99,
        failed=sum(window.errors.values()),
    )


class History:
    """The latest points."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=KEPT)

    def add(self, point: Point) -> None:
        """The oldest goes."""
        self._points.append(point)

    def columns(self) -> dict[str, list[float | None]]:
        """Each field over time, oldest first: a third of the bytes that a list of objects would take."""
        rounded = [[None if value is None else round(value, 1) for value in point] for point in self._points]
        columns = [list(column) for column in zip(*rounded, strict=True)] or [[] for _ in Point._fields]
        return dict(zip(Point._fields, columns, strict=True))
