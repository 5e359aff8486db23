"""Pace of a replay: when the next records may be sent, at a given rate. Pure: the time is an argument."""

from __future__ import annotations


class ReplayPace:
    """Spreads records evenly over time; unused time is not saved, so no burst follows a stall."""

    def __init__(self, rate: float | None) -> None:
        """``rate`` in records a second; None is no limit."""
        self._rate = rate
        self._free_at = 0.0

    @property
    def parcel(self) -> int:
        """The most records to send together, so that a slow pace is an even one: a fifth of a second's."""
        return 1_000 if self._rate is None else max(1, min(1_000, int(self._rate / 5)))

    def wait_s(self, records: int, now: float) -> float:
        """Takes room for some records; returns the seconds to wait before they are sent."""
        if self._rate is None:
            return 0.0
        begins = max(self._free_at, now)
        self._free_at = begins + records / self._rate
        return begins - now
