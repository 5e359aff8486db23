"""The redactor: finds personal data and puts placeholders in its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .address import find_addresses
from .card import find_cards
from .email import find_emails
from .field import field_pattern, fields_detector
from .fold import fold
from .identity import find_identities
from .personal_data import Detector, PersonalData
from .phone import find_phones
from .placeholder import KIND, placeholders
from .vault import Naming, Vault

_NUMBERS = frozenset({"ID", "CARD", "PHONE"})
"""Kinds of at least seven digits."""
_BUILT_IN: dict[str, Detector] = {
    "EMAIL": find_emails,
    "ID": find_identities,
    "CARD": find_cards,
    "ADDRESS": find_addresses,
    "PHONE": find_phones,
}
"""In order: where two overlap, the first one has it."""
KINDS = tuple(_BUILT_IN)

_WORTH = re.compile(
    "[0-9@]|[一二三四五六七八九十][号栋幢弄楼组]|[市区县][一-鿿]{2,6}?(?:路|街|道|小区|花园|家园|公寓|大厦|广场|中心|苑|园|府|湾|庭|城|里)"
)
"""A text without any of this holds nothing that the built-in detectors find."""
_SIGN = re.compile(r"[0-9@\[_]")
"""A text in ASCII without any of these holds no placeholder, and nothing that the built-in detectors find."""
_LONG_NUMBER = re.compile(r"[0-9](?:[^0-9]{0,3}[0-9]){6}")
_SHORTEST_KNOWN = 5
"""Characters of a value that is known again without its context: "X1234567" where "passport X1234567" was said before."""
_LONGEST_LABEL = 40
_MANY = 64
_MOST_PASSES = 8
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|_")


class Redactor:
    """What is personal in a text, and its replacement by placeholders. Has no state: one serves every conversation."""

    def __init__(
        self, *, kinds: Collection[str] = KINDS, fields: Sequence[str] = (), detectors: Sequence[Detector] = ()
    ) -> None:
        """``fields`` are names whose values are personal, in any language; ``detectors`` come after the built-in ones."""
        if isinstance(fields, str):
            raise ValueError(f"Redactor: fields={fields!r} is one text; write fields=({fields!r},)")  # noqa: TRY004 - as its other mistakes
        unknown = set(kinds) - set(KINDS)
        if unknown:
            raise ValueError(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
        self._always: list[Detector] = [fields_detector(fields)] if fields else []
        self._built_in = [(kind, find) for kind, find in _BUILT_IN.items() if kind in kinds]
        self._added = detectors
        self._named = re.compile(field_pattern(fields), re.IGNORECASE) if fields else None

    def find(self, text: str) -> list[PersonalData]:
        """Where personal data is, in order and without overlaps."""
        return self._spans(text, Naming(Vault()), "")

    def redact(self, text: str, vault: Vault) -> tuple[str, Vault]:
        """The text with placeholders, and the vault that restores it: the same object when nothing is new."""
        if not len(vault) and self._is_plain(text):
            return text, vault
        naming = Naming(vault)
        return self._redacted(text, naming), naming.vault()

    def redact_value(self, value: Any, vault: Vault) -> tuple[Any, Vault]:
        """The same for a JSON value, such as a tool's result: every text in it, and whole numbers that are personal.

        A key says what its value is, as a word before it does: ``{"order_id": "13800138000"}`` holds no phone. Keys stay.
        """
        naming = Naming(vault)
        for text in _texts(value):
            for written in placeholders(fold(text)):
                naming.keep_free(written.name)
        return self._redacted_value(value, naming, ""), naming.vault()

    def _is_plain(self, text: str) -> bool:
        """Whether a look tells that nothing is to be found: most texts have no data of anybody."""
        if self._added or not text.isascii() or _SIGN.search(text):
            return False
        return self._named is None or not self._named.search(text)

    def _redacted_value(self, value: Any, naming: Naming, label: str) -> Any:
        if isinstance(value, str):
            return self._redacted(value, naming, label)
        if isinstance(value, Mapping):
            return {key: self._redacted_value(item, naming, _label(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._redacted_value(item, naming, label) for item in value]
        if isinstance(value, int) and not isinstance(value, bool):
            return self._redacted_number(value, naming, label)
        return value

    def _redacted_number(self, number: int, naming: Naming, label: str) -> int | str:
        digits = str(number)
        whole = any(span.end - span.start == len(digits) for span in self._spans(digits, naming, label))
        return self._redacted(digits, naming, label) if whole else number

    def _redacted(self, text: str, naming: Naming, label: str = "") -> str:
        """Until nothing more is found: what stood beside a value may be one itself once that is gone."""
        for _ in range(_MOST_PASSES):
            spans = self._spans(text, naming, label)
            if not spans:
                break
            parts: list[str] = []
            position = 0
            for start, end, kind in spans:
                parts += text[position:start], f"[{naming.name(text[start:end], kind)}]"
                position = end
            text = "".join(parts) + text[position:]
        return text

    def _spans(self, text: str, naming: Naming, label: str) -> list[PersonalData]:
        """What is personal, in order and without overlaps; never a part of a placeholder."""
        folded = fold(text)
        taken = bytearray(len(text))
        for written in placeholders(folded):
            naming.keep_free(written.name)
            _fill(taken, written.start, written.end)
        if taken.find(1) >= 0:
            folded = _hidden(folded, taken)
        spans = []
        for span in self._found(text, folded, naming, label):
            if 0 <= span.start < span.end and taken.find(1, span.start, span.end) < 0:
                _fill(taken, span.start, span.end)
                spans.append(span)
        return sorted(spans)

    def _found(self, text: str, folded: str, naming: Naming, label: str) -> Iterator[PersonalData]:
        labelled, skip = label + folded, len(label)
        for find in self._worth_trying(labelled):
            for start, end, kind in find(labelled):
                yield PersonalData(start - skip, end - skip, kind)
        for find in self._added:
            yield from _checked(find(text), len(text))
        for value in _perhaps_in(text, naming.values()):
            yield from _occurrences(value, text)

    def _worth_trying(self, text: str) -> Iterator[Detector]:
        if self._named and self._named.search(text):
            yield from self._always
        if not _WORTH.search(text):
            return
        numbers = _LONG_NUMBER.search(text) is not None
        for kind, find in self._built_in:
            if numbers or kind not in _NUMBERS:
                yield find


def _hidden(text: str, taken: bytearray) -> str:
    """The text with a character that no rule reads where something was taken."""
    parts: list[str] = []
    start = 0
    while (hole := taken.find(1, start)) >= 0:
        end = taken.find(0, hole)
        end = end if end >= 0 else len(taken)
        parts += text[start:hole], "\0" * (end - hole)
        start = end
    return "".join(parts) + text[start:]


def _fill(taken: bytearray, start: int, end: int) -> None:
    taken[start:end] = b"\1" * (end - start)


def _label(key: object) -> str:
    """A key as the words before its value: ``orderId`` and ``order_id`` say "order Id"."""
    return fold(f"{_CAMEL.sub(' ', str(key)[-_LONGEST_LABEL:])}: ")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _perhaps_in(text: str, values: Collection[str]) -> Iterable[str]:
    """The values that may be in the text: of many, those whose first characters are."""
    if len(values) < _MANY:
        return values
    beginnings = {text[start : start + _SHORTEST_KNOWN] for start in range(len(text))}
    return (value for value in values if value[:_SHORTEST_KNOWN] in beginnings)


def _occurrences(value: str, text: str) -> Iterator[PersonalData]:
    """A known value wherever it stands by itself."""
    if len(value) < _SHORTEST_KNOWN:
        return
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if not (_joined(text[start - 1 : start], value[0]) or _joined(value[-1], text[end : end + 1])):
            yield PersonalData(start, end, "KNOWN")
        start = text.find(value, end)


def _joined(left: str, right: str) -> bool:
    return left.isascii() and left.isalnum() and right.isascii() and right.isalnum()


def _checked(spans: Iterable[PersonalData], length: int) -> Iterator[PersonalData]:
    """Spans of a detector from elsewhere. A wrong one is refused: to go on without it would let data out."""
    for span in spans:
        if not (0 <= span.start <= span.end <= length and KIND.fullmatch(span.kind)):
            raise ValueError(
                f"a detector gave {span}: its kind must read like 'PERSON', its positions be within 0 and {length}"
            )
        yield span
