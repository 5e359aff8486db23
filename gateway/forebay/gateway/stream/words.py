"""Words: a turn's text from its deltas, and how much of it a reader was shown. Pure.

The text may start again: after words that led to a tool, with another model, on another worker. The final reply has the
whole text.
"""

from __future__ import annotations

from typing import NamedTuple

PARAGRAPH = "\n\n"


class Draft:
    """The text of a turn so far. After a gap, deltas are left out until the text starts again."""

    def __init__(self) -> None:
        self.text = ""
        self._next = 0

    def take(self, sequence: int, text: str, *, restart: bool) -> bool:
        """Takes a delta; returns whether the draft has changed."""
        if sequence == 0 or restart:
            self.text = text
        elif sequence == self._next:
            self.text += text
        else:
            self._next = -1
            return False
        self._next = sequence + 1
        return True


class Piece(NamedTuple):
    """What to show a reader next."""

    text: str
    anew: bool = False
    """Whether the text starts again: what was shown is to be removed first, where that is possible."""


class Shown:
    """What a reader was shown. A text that starts again with the same words goes on where it was."""

    def __init__(self) -> None:
        self.text = ""

    def piece(self, text: str, *, final: bool = False) -> Piece:
        """The piece after which all of ``text`` is shown; empty while a draft only repeats what was shown."""
        if text.startswith(self.text):
            shown, self.text = self.text, text
            return Piece(text[len(shown) :])
        if not final and self.text.startswith(text):
            return Piece("")
        self.text = text
        return Piece(text, anew=True)
