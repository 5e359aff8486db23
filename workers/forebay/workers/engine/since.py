"""Since: for how long a condition has been true."""

from __future__ import annotations


class Since:
    """For how long a condition has been true without a break. Pure: times are in seconds of any steady clock."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: float | None = None

    def note(self, true: bool, now: float) -> None:
        """Whether it is true now."""
        if not true:
            self._since = None
        elif self._since is None:
            self._since = now

    def seconds(self, now: float) -> float:
        """For how long; 0 while it is not true."""
        return 0.0 if self._since is None else now - self._since
