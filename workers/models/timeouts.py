"""Timeouts of model calls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a call may wait at each place."""

    connect_s: float = 5.0
    read_s: float = 60.0
    """Between two reads: for the first byte of an answer, and from one fragment of a stream to the next."""
    write_s: float = 10.0
