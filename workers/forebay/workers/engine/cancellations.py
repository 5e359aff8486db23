"""Cancellations: the turns that were taken back in the last hour, whether or not they have come yet. Pure."""

from __future__ import annotations

from collections.abc import Hashable

from cachetools import FIFOCache

from forebay.schemas import Cancellation, replayed

from .inbound import InboundRecord

MOST = 50_000
"""Turns remembered, the latest: about 20 MB. An older one has expired long before so many were taken back."""
_MOST_USERS = 4
"""Of one turn: only its own user's counts, whatever others say."""


class Cancellations:
    """Which turns are no longer wanted."""

    __slots__ = ("_known",)

    def __init__(self, most: int = MOST) -> None:
        self._known: FIFOCache[tuple[Hashable, str], dict[str | None, int]] = FIFOCache(most)

    def add(self, cancellation: Cancellation, timestamp: int) -> None:
        """Notes one; ``timestamp`` is its record's, in milliseconds since the epoch."""
        key = cancellation.conversation_id, cancellation.turn_id
        by_user = dict(self._known.get(key, {}))
        by_user.pop(cancellation.user_id, None)
        by_user[cancellation.user_id] = timestamp
        self._known[key] = dict(list(by_user.items())[-_MOST_USERS:])

    def cover(self, turn: InboundRecord) -> bool:
        """Whether this turn was taken back, by its own user or by a server.

        Of a turn that an operator replayed only after that: the customer gave up the turn that failed, not this one.
        """
        by_user = self._known.get((turn.lane, turn.turn_id))
        if by_user is None:
            return False
        since = turn.timestamp if replayed(turn.headers) else 0
        user = turn.origin.user
        return any(at >= since and (by is None or user is None or by == user) for by, at in by_user.items())
