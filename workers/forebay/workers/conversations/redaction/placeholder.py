"""Placeholders: what stands in a text for a value, in whatever way a model wrote it down."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

KIND = re.compile(r"[A-Z][A-Z_]{1,30}(?<!_)")
LONGEST = 56
"""Characters of the longest text that is read as a placeholder."""

_OPEN, _CLOSE = r"[\[【〔]", r"[\]】〕]"
_INSIDE = r" {{0,2}}(?P<{0}kind>[A-Za-z][A-Za-z_\\]{{1,32}}?) ?(?:\\?_|[ -]) ?(?P<{0}number>[1-9][0-9]{{0,5}}) {{0,2}}"
_BARE = r"(?<![A-Za-z0-9_\]])(?P<bare_kind>[A-Z][A-Z_\\]{1,32}?)\\?_(?P<bare_number>[1-9][0-9]{0,5})(?![A-Za-z0-9_\[])"
"""Not beside a bracket: a placeholder put in there must not make one of the words beside it."""
_WRITTEN = re.compile(rf"{_OPEN}{_INSIDE.format('')}{_CLOSE}|\\{_OPEN}{_INSIDE.format('escaped_')}\\{_CLOSE}|{_BARE}")
_LIKELY = re.compile(r"[\[【〔_]")


class Written(NamedTuple):
    """A text that reads as a placeholder, ``text[start:end]``."""

    start: int
    end: int
    name: str
    """As the vault has it: ``PHONE_1``."""


def placeholders(folded: str, start: int = 0) -> Iterator[Written]:
    """What reads as a placeholder, from ``start`` on.

    Within brackets case, spaces, hyphens and Markdown's backslashes do not matter: ``[phone_1]``, ``【PHONE 1】``,
    ``\\[PHONE\\_1\\]``. Without brackets it must be ``PHONE_1``, and no part of a longer word.
    """
    if not _LIKELY.search(folded, start):
        return
    for found in _WRITTEN.finditer(folded, start):
        kind = found["kind"] or found["escaped_kind"] or found["bare_kind"]
        number = found["number"] or found["escaped_number"] or found["bare_number"]
        yield Written(*found.span(), f"{kind.replace(chr(92), '').upper()}_{number}")


_BEGUN = re.compile(r"(?:\\?[\[【〔][A-Za-z0-9_\\ -]{0,52}|(?<![A-Za-z0-9_])[A-Z][A-Z0-9_\\]{0,48}|\\)\Z")


def begun(folded: str, start: int = 0) -> int:
    """Where a placeholder may begin that the text's end cuts off; the text's length if nowhere."""
    found = _BEGUN.search(folded, max(start, len(folded) - LONGEST))
    return found.start() if found else len(folded)
