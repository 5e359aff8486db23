"""Percentiles by nearest rank: always one of the values, never one between two."""

from __future__ import annotations

import math
from collections.abc import Iterable

_ROUNDING = 1e-9
"""Of products such as 0.07 x 100, which is a little more than 7."""


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of all values (0 to 1) do not exceed. Raises ValueError for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values, no percentile")
    return ordered[max(1, math.ceil(share * len(ordered) - _ROUNDING)) - 1]
