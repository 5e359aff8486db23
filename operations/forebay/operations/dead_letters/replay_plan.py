"""Which dead letters were replayed, and which will be. Pure: no Kafka, no clock.

What was replayed is written where the dead letters lie: a *mark* is a record in the same partition of their topic, without
a key, with a header ``dlq.replayed`` and the ranges of offsets that were sent again. A mark is younger than its letters, so
retention never forgets that a letter was replayed before it forgets the letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import orjson

from forebay.schemas import Headers
from forebay.schemas.headers import DLQ_REASON, DLQ_REPLAYED

from .letter import LetterId

Runs = tuple[tuple[int, int], ...]
"""Ranges of offsets, first and last."""

# What a plan knows of each offset.
_NOTHING, _MARKED, _REPLAYED, _WORN_OUT, _FIRST_REASON, _OTHER = 0, 1, 2, 3, 4, 255
_MARK_TABLE = bytes([_MARKED, _MARKED]) + bytes([_REPLAYED]) * 254

OTHER_REASONS = "(other reasons)"
"""Stands for the reasons beyond the first 251 different ones."""


def runs(offsets: Iterable[int]) -> Runs:
    """Ascending offsets as ranges."""
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and offset == found[-1][1] + 1:
            found[-1] = found[-1][0], offset
        else:
            found.append((offset, offset))
    return tuple(found)


def write_mark(topic: str, partition: int, replayed: Sequence[int]) -> tuple[bytes, Headers]:
    """Value and headers of the mark for letters of one partition, given their offsets in ascending order."""
    mark = {"topic": topic, "partition": partition, "replayed": runs(replayed)}
    return orjson.dumps(mark), ((DLQ_REPLAYED, b"%d" % len(replayed)),)


def is_mark(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a record of the dead letters' topic is a mark and no dead letter."""
    names = {name for name, _ in headers}
    return DLQ_REPLAYED in names and DLQ_REASON not in names


def read_mark(value: bytes | None, topic: str, place: LetterId) -> Runs:
    """What the mark at this place says was replayed.

    Nothing where it is damaged, or speaks of another topic or of what lies behind it: a mark that was copied from
    elsewhere must not hide dead letters.
    """
    try:
        mark = orjson.loads(value or b"")
        claimed = tuple((first, last) for first, last in mark["replayed"])
        if (mark["topic"], mark["partition"]) != (topic, place.partition):
            return ()
        return claimed if all(0 <= first <= last < place.offset for first, last in claimed) else ()
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return ()


class ReplayPlan:
    """What reading the dead letters found, a byte for each offset. Letters and marks may come in any order."""

    def __init__(self, spans: Mapping[int, range]) -> None:
        """``spans`` are the offsets that are read, for each partition."""
        self.spans = dict(spans)
        self._codes = {partition: bytearray(len(span)) for partition, span in spans.items()}
        self._reasons: list[str] = []

    def saw(self, place: LetterId, reason: str, *, worn_out: bool = False) -> None:
        """Notes a letter that the filter selects; ``worn_out`` when it was replayed too often to be tried again."""
        codes, at = self._codes[place.partition], place.offset - self.spans[place.partition].start
        codes[at] = _REPLAYED if codes[at] == _MARKED else _WORN_OUT if worn_out else self._code(reason)

    def mark(self, partition: int, replayed: Runs) -> None:
        """Notes letters that were replayed, whether or not the filter selects them."""
        if (span := self.spans.get(partition)) is None:
            return
        codes = self._codes[partition]
        for first, last in replayed:
            within = slice(max(0, first - span.start), max(0, last + 1 - span.start))
            codes[within] = codes[within].translate(_MARK_TABLE)

    def selects(self, place: LetterId) -> bool:
        """Whether this letter is to be replayed."""
        return self._known(place) >= _FIRST_REASON

    def was_replayed(self, place: LetterId) -> bool:
        """Whether a mark says so."""
        return self._known(place) in (_MARKED, _REPLAYED)

    @property
    def reasons(self) -> dict[str, int]:
        """The letters to be replayed, by reason, the most first."""
        counts = {reason: self._count(code) for code, reason in enumerate(self._reasons, _FIRST_REASON)}
        counts[OTHER_REASONS] = self._count(_OTHER)
        return {
            reason: count for reason, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])) if count
        }

    @property
    def selected(self) -> int:
        """Letters to be replayed."""
        return sum(self.reasons.values())

    @property
    def replayed_before(self) -> int:
        """Selected letters that were replayed already."""
        return self._count(_REPLAYED)

    @property
    def worn_out(self) -> int:
        """Selected letters that were replayed too often."""
        return self._count(_WORN_OUT)

    @property
    def selected_spans(self) -> dict[int, range]:
        """For each partition, from the first letter to be replayed to the last."""
        spans = {}
        for partition, codes in self._codes.items():
            start = self.spans[partition].start
            chosen = [at for at in (_first(codes), _last(codes)) if at is not None]
            if chosen:
                spans[partition] = range(start + chosen[0], start + chosen[-1] + 1)
        return spans

    def _known(self, place: LetterId) -> int:
        span = self.spans.get(place.partition)
        if span is None or place.offset not in span:
            return _NOTHING
        return self._codes[place.partition][place.offset - span.start]

    def _code(self, reason: str) -> int:
        if reason in self._reasons:
            return _FIRST_REASON + self._reasons.index(reason)
        if _FIRST_REASON + len(self._reasons) == _OTHER:
            return _OTHER  # anybody can write a reason, and memory is bounded
        self._reasons.append(reason)
        return _FIRST_REASON + len(self._reasons) - 1

    def _count(self, code: int) -> int:
        return sum(codes.count(code) for codes in self._codes.values())


_UNSELECTED = bytes(range(_FIRST_REASON))


def _first(codes: bytearray) -> int | None:
    left = len(codes.lstrip(_UNSELECTED))
    return len(codes) - left if left else None


def _last(codes: bytearray) -> int | None:
    left = len(codes.rstrip(_UNSELECTED))
    return left - 1 if left else None
