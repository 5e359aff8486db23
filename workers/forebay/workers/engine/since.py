"""Since: how long something has been so."""

from __future__ import annotations


class Since:
    """How long something has been so without a break. Pure: times are in seconds of any steady clock."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: float | None = None

    def note(self, so: bool, now: float) -> None:
        """It is so, or not."""
        if not so:
            self._since = None
        elif self._since is None:
            self._since = now

    def seconds(self, now: float) -> float:
        """For how long; 0 when it is not so."""
        return 0.0 if self._since is None else now - self._since
