"""A cursor: how far a reader of a conversation has read, as positions in the topics. Pure.

It is the id of the events that a gateway sends, so that any gateway can go on where another one stopped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WRITTEN = re.compile(r"([0-9]{1,18})-([0-9]{1,18})(?:-([0-9]{1,18})-([0-9]{1,18}))?")
NOW = -1
"""A position that an event id does not name: a reader goes on with what comes from now on."""


class CursorError(ValueError):
    """The text is no event id of a gateway."""


class Cursor(NamedTuple):
    """The next offsets to read in the conversation's partition of the replies, deltas, persons' messages and requests."""

    replies: int
    deltas: int
    messages: int = 0
    requests: int = 0

    def __str__(self) -> str:
        return "-".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Reads an event id; that of an older gateway names replies and deltas only. Raises CursorError."""
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise CursorError(
                f"{text[:64]!r} is no event id: give the last one that was received, such as 812-553-4-809"
            )
        return cls(*(NOW if offset is None else int(offset) for offset in written.groups()))

    def begun(self, now: Cursor) -> Cursor:
        """The same with the positions that it does not name, which are those of ``now``."""
        return Cursor(*(own if own != NOW else there for own, there in zip(self, now, strict=True)))

    def is_ahead_of(self, other: Cursor) -> bool:
        """Whether it has read further in one of the topics."""
        return any(own > there for own, there in zip(self, other, strict=True))

    def furthest(self, other: Cursor) -> Cursor:
        """The further position in each topic."""
        return Cursor(*map(max, self, other))
