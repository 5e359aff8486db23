"""Phone numbers: Chinese mobiles and landlines, international ones, and the written forms of other countries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .mention import of_a_phone, of_an_order
from .personal_data import PersonalData

_BEGIN = r"(?<![0-9][.\-])(?<![A-Za-z]/)(?<![¥￥$€£.])"
_END = r"(?![0-9])(?!-[0-9])(?!\.[0-9])"
_ABROAD = (
    r"(?P<abroad>(?:\+|(?<![0-9][.\-])00)[1-9][0-9]{0,14}"
    r"(?:[ .-]?\([0-9]{1,5}\)[ .-]?[0-9]{2,8}|[ .-][0-9]{2,12}){0,5})(?![0-9])"
)
_FORMS = (
    r"(?:86[ -]?)?1[3-9][0-9](?:[ .-]?[0-9]{4}[ .-]?[0-9]{4}|[0-9]{2}[ -][0-9]{3}[ -]?[0-9]{3})",  # 138 0013 8000
    r"(?:\(0(?:10|2[0-9]|[3-9][0-9]{2})\) ?|0(?:10|2[0-9]|[3-9][0-9]{2})[ -]?)[2-9][0-9]{6,7}(?:(?: ?转 ?|-)[0-9]{1,6})?",
    r"[48]00(?:-[0-9]{3}-?[0-9]{4}|-[0-9]{4}-[0-9]{3}| [0-9]{3} [0-9]{4}| [0-9]{4} [0-9]{3})",  # 400-820-8820
    r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}",  # (415) 555-2671
    r"07[0-9]{9}|0[1-9](?P<pair>[ .])[0-9]{2}(?:(?P=pair)[0-9]{2}){3}",  # 07911123456, 06 12 34 56 78
    r"\(0[1-9][0-9]{0,3}\) ?[0-9]{3,4}[ -]?[0-9]{3,4}",  # (020) 7946 0958
    r"(?P<trunk>0[1-9][0-9]{0,3}(?P<by>[ .-])[0-9]{3,8}(?:(?P=by)[0-9]{2,4}){0,3})",  # 0161 496 0123
)
_WRITTEN = re.compile(f"(?=[+(0-9])(?<![0-9])(?:{_ABROAD}|{_BEGIN}(?:{'|'.join(_FORMS)}){_END})")

_ANY = re.compile(r"[0-9](?<![0-9].)(?:[0-9]{6,11}|[0-9]{2,4}[ -][0-9]{3,5}(?:[ -][0-9]{3,5})?)" + _END)
"""A number of any country, where it is called a phone's."""

_LONGEST = {"1": 11, "7": 11, "33": 11, "34": 11, "44": 12, "49": 13, "61": 11, "65": 10, "81": 12, "82": 12, "852": 11}
_LONGEST |= {"86": 13, "91": 12, "886": 12, "853": 11, "60": 12, "66": 11, "84": 12, "39": 13, "55": 13}
"""Most digits of a number with its country code: what follows a number after a space may be another one."""
_SHORTEST, _SHORTEST_CALLED, _EVER = 8, 7, 15
_GLUED = frozenset({"tel", "phone", "mobile", "mob", "ph", "cell", "call", "fax", "v", "vx", "wx", "whatsapp"})
_LETTERS_BEFORE = re.compile(r"[A-Za-z]{1,12}")


def find_phones(text: str) -> Iterator[PersonalData]:
    """By their form, or by being called phone numbers."""
    for written in _WRITTEN.finditer(text):
        start, end = written.span()
        if written["abroad"]:
            end = start + _abroad(written["abroad"])
        elif written["trunk"] and not 9 <= sum(map(str.isdigit, written[0])) <= 12:
            continue
        if end > start and _stands_alone(text, start) and (text[start] == "+" or not of_an_order(text, start, end)):
            yield PersonalData(start, end, "PHONE")
    for number in _ANY.finditer(text):
        if sum(map(str.isdigit, number[0])) >= _SHORTEST_CALLED and of_a_phone(text, number.start()):
            yield PersonalData(*number.span(), "PHONE")


def _abroad(written: str) -> int:
    """Length of the international number in these groups: whole groups, no more than its country has; 0 if none is."""
    digits = "".join(filter(str.isdigit, written)).removeprefix("00" if written[0] == "0" else "")
    most = next((_LONGEST[digits[:size]] for size in (1, 2, 3) if digits[:size] in _LONGEST), _EVER)
    most += 2 * (written[0] == "0") + ("(0)" in written)
    while sum(map(str.isdigit, written)) > most:
        cut = max(written.rfind(" "), written.rfind("-"), written.rfind("."))
        if cut < 0:
            return 0
        written = written[:cut]
    return len(written) if sum(map(str.isdigit, written)) >= _SHORTEST else 0


def _stands_alone(text: str, start: int) -> bool:
    """Letters right before make it a part of a parcel or product number, unless they are a word for a phone."""
    before = text[start - 1] if start else ""
    if not (before.isascii() and before.isalnum()):
        return True
    letters = _LETTERS_BEFORE.match(text[max(0, start - 12) : start][::-1])
    return letters is not None and letters[0][::-1].lower() in _GLUED
