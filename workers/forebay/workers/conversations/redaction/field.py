"""Fields that a shop names: the value that follows their name is personal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .personal_data import Detector, PersonalData

_JOINT = r"[ ]{0,2}(?:号码|号|no\.?|number|num\.?|id|#)?[ ]{0,2}"
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9_./@-]{0,40}[A-Za-z0-9])?"
_WITH_DIGIT = r"(?=[A-Za-z_./@-]{0,20}[0-9])(?:[A-Z]{1,2} (?=[0-9]{5}))?" + _WORD
_NAME = r"[A-Z][a-z'-]{1,20}(?: [A-Z][a-z'-]{1,20}){1,3}"
_HAN = r"[一-鿿·]{2,20}"


def fields_detector(names: Sequence[str]) -> Detector:
    """A detector of the values of these fields: ``passport: X1234567``, ``会员号是88001234``.

    After a colon anything is a value; after a verb, what is written in ASCII; with nothing between, what has a digit:
    "my passport is expired" and "会员号在哪里看" say no value.
    """
    pattern = re.compile(
        rf"(?i:{field_pattern(names)})(?i:{_JOINT})"
        rf"(?:[:：=][ ]{{0,2}}(?P<told>{_NAME}|{_WITH_DIGIT}|{_WORD}|{_HAN})"
        rf"|[是为][ ]?(?P<named>{_WITH_DIGIT}|{_WORD})"
        rf"|(?:(?i:is|was) )?(?P<beside>{_WITH_DIGIT}))"
    )

    def find(text: str) -> Iterator[PersonalData]:
        for found in pattern.finditer(text):
            yield PersonalData(*found.span(found.lastgroup or 0), "FIELD")

    return find


def field_pattern(names: Sequence[str]) -> str:
    """A pattern of the names alone, the longest first."""
    if not all(name.strip() for name in names):
        raise ValueError("a field needs a name, such as 'passport'")
    return "|".join(_pattern(name.strip()) for name in sorted(names, key=len, reverse=True))


def _pattern(name: str) -> str:
    """The name as a whole word where it is one."""
    pattern = r"[ ]{1,2}".join(map(re.escape, name.split()))
    before = r"(?<![A-Za-z0-9])" if name[0].isascii() and name[0].isalnum() else ""
    after = r"(?![A-Za-z])" if name[-1].isascii() and name[-1].isalnum() else ""
    return before + pattern + after
