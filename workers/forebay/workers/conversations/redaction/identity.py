"""Resident identity numbers of China: 18 characters with a checksum (GB 11643-1999), or the old 15 digits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from .mention import of_an_order
from .personal_data import PersonalData

_PROVINCE = r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])"
_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_WRITTEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    rf"(?P<new>{_PROVINCE}[0-9]{{4}}[ -]?(?:18|19|20)[0-9]{{2}}{_DAY}[ -]?[0-9]{{3}}[0-9Xx])"
    rf"|(?P<old>{_PROVINCE}[0-9]{{6}}{_DAY}[0-9]{{3}}))(?![A-Za-z0-9])"
)
_WEIGHTS = 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2


def find_identities(text: str) -> Iterator[PersonalData]:
    """The 18 are what they are wherever they stand; the old 15 have no checksum, so an order number is believed."""
    for written in _WRITTEN.finditer(text):
        number = written[0].replace(" ", "").replace("-", "").upper()
        if written["new"]:
            found = _checksum(number) and _is_day(number[6:14])
        else:
            found = _is_day("19" + number[6:12]) and not of_an_order(text, *written.span())
        if found:
            yield PersonalData(*written.span(), "ID")


def _checksum(number: str) -> bool:
    return (
        "10X98765432"[sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False)) % 11]
        == number[17]
    )


def _is_day(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return True
