"""Personal data: where it is in a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias


class PersonalData(NamedTuple):
    """``text[start:end]`` is personal data of this kind."""

    start: int
    end: int
    kind: str
    """Upper-case words with underscores, such as ``PHONE``; it names the placeholder."""


Detector: TypeAlias = Callable[[str], Iterable[PersonalData]]
"""Finds spans in a text, in any order; they may overlap."""
