"""Bank cards: 13 to 19 digits, a known first few, and the Luhn checksum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .mention import of_an_order
from .personal_data import PersonalData

_WRITTEN = re.compile(
    r"(?<![A-Za-z0-9])(?<![0-9][.\-])"
    r"(?:[0-9]{13,19}"
    r"|[0-9]{4}(?:(?P<by>[ -])[0-9]{4})(?:(?P=by)[0-9]{4}){2}(?:(?P=by)[0-9]{1,3})?"
    r"|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5}"
    r"|[0-9]{6}[ -][0-9]{10,13})"
    r"(?![A-Za-z0-9])(?!-[0-9])"
)
_ISSUERS = {
    13: re.compile(r"4"),
    14: re.compile(r"3[0689]"),
    15: re.compile(r"3[47]|1800|2131"),
    16: re.compile(r"2[2-7]|35|[456]|9[05]5"),
    17: re.compile(r"6"),
    18: re.compile(r"6|95"),
    19: re.compile(r"[46]|9[05]5"),
}
"""First digits by length. Barcodes have 13 digits too; many old cards of Chinese banks begin with 955."""
_DOUBLED = {str(digit): 2 * digit - 9 * (digit > 4) for digit in range(10)}


def find_cards(text: str) -> Iterator[PersonalData]:
    """What an order number calls itself is not a card, whatever its checksum."""
    for written in _WRITTEN.finditer(text):
        start, end = written.span()
        card = _card(written[0])
        if card and not of_an_order(text, start, end):
            yield PersonalData(start, start + len(card), "CARD")


def _card(written: str) -> str:
    """The card in the digits: all of them, or all but a last group (a month, a CVV); empty if there is none."""
    if _is_card(written):
        return written
    most = written[:19]
    return most if len(written) > 19 and _is_card(most) else ""


def _is_card(written: str) -> bool:
    digits = written.replace(" ", "").replace("-", "")
    issuer = _ISSUERS.get(len(digits))
    return issuer is not None and bool(issuer.match(digits)) and _luhn(digits)


def _luhn(digits: str) -> bool:
    return (sum(map(int, digits[-1::-2])) + sum(_DOUBLED[digit] for digit in digits[-2::-2])) % 10 == 0
