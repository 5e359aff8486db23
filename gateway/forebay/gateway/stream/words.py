"""Words: a turn's text as its deltas tell it, and what of it a reader was shown. Pure.

A turn may begin anew: after words that led to a tool, with another model, on another worker. Its final reply has all of
its text.
"""

from __future__ import annotations

from typing import NamedTuple

PARAGRAPH = "\n\n"


class Draft:
    """The text of a turn so far. What follows a gap is left out until the text begins anew."""

    def __init__(self) -> None:
        self.text = ""
        self._next = 0

    def take(self, sequence: int, text: str, *, restart: bool) -> bool:
        """Takes a delta; whether the draft has changed."""
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
    """What a reader is shown next."""

    text: str
    anew: bool = False
    """It does not go on from what was shown: that is dropped, where it can be, before this."""


class Shown:
    """What a reader was shown. A text that begins anew with the same words goes on where it was."""

    def __init__(self) -> None:
        self.text = ""

    def piece(self, text: str, *, final: bool = False) -> Piece:
        """What to show, so that all of ``text`` is shown; of a draft, nothing while it only repeats what was shown."""
        if text.startswith(self.text):
            shown, self.text = self.text, text
            return Piece(text[len(shown) :])
        if not final and self.text.startswith(text):
            return Piece("")
        self.text = text
        return Piece(text, anew=True)
