"""What was spent on models so far: stores count it, budgets are kept by it."""

from __future__ import annotations

from typing import NamedTuple

HOUR_S = 3600


class Spent(NamedTuple):
    """USD in the clock hour (UTC) ``hour``, counted from the epoch, and in its day."""

    hour: int
    in_hour: float
    in_day: float
