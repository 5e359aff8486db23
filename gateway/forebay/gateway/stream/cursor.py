"""A cursor: how far a reader of a conversation has read, as positions in the topics. Pure.

It is the id of the events that a gateway sends, so that any gateway can go on where another one stopped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WRITTEN = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


class CursorError(ValueError):
    """The text is no event id of a gateway."""


class Cursor(NamedTuple):
    """The next offsets to read in the conversation's partition of the replies and of the deltas."""

    replies: int
    deltas: int

    def __str__(self) -> str:
        return f"{self.replies}-{self.deltas}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Reads an event id. Raises CursorError."""
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise CursorError(f"{text[:64]!r} is no event id: give the last one that was received, such as 8120-55301")
        return cls(int(written[1]), int(written[2]))
