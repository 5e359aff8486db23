"""The last half hour, a point a second: so that the plots of a page that opens begin full. Pure."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

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
