"""Open connections: how many each user has, and all together. Pure."""

from __future__ import annotations

from collections import Counter

from .admission import LimitReached


class Connections:
    """Counts open event streams and WebSockets."""

    def __init__(self, *, everyone: int, user: int) -> None:
        self._everyone, self._user = everyone, user
        self._open: Counter[str] = Counter()
        self.count = 0

    def enter(self, user: str | None) -> LimitReached | None:
        """Counts one more; None when there is room. Whoever entered must `leave`."""
        if self.count >= self._everyone:
            return LimitReached("the gateway", 5.0)
        if user is not None and self._open[user] >= self._user:
            return LimitReached(f"user {user}", 5.0)
        self.count += 1
        if user is not None:
            self._open[user] += 1
        return None

    @property
    def used(self) -> float:
        """Open ones as a share of the most that may be open."""
        return self.count / self._everyone

    def leave(self, user: str | None) -> None:
        """Counts one less."""
        self.count -= 1
        if user is not None:
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]
