"""Percentiles by nearest rank: always one of the values, never one between two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_ROUNDING = 1e-9
"""Of products such as 0.07 x 100, which is a little more than 7."""


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of all values (0 to 1) do not exceed. Raises ValueError for no values."""
    return percentile_of_sorted(sorted(values), share)


def percentile_of_sorted(values: Sequence[float], share: float) -> float:
    """The same of values in ascending order."""
    if not values:
        raise ValueError("no values, no percentile")
    return values[max(1, math.ceil(share * len(values) - _ROUNDING)) - 1]
