"""A dead letter, and the filter that selects some. Pure: no Kafka, no clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import orjson
from aiokafka import ConsumerRecord

from forebay.producers.partition import partition_of
from forebay.schemas import Headers
from forebay.schemas.headers import (
    DLQ_ATTEMPTS,
    DLQ_MESSAGE,
    DLQ_PARTITION,
    DLQ_REASON,
    DLQ_TOPIC,
    TENANT,
    replay_count,
)

_ID = re.compile(r"(?:(?P<topic>.+)-)?(?P<partition>[0-9]{1,9})-(?P<offset>[0-9]{1,18})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_000
"""The last second of the year 9999, in milliseconds since the epoch: no datetime is later."""


class LetterId(NamedTuple):
    """Where a dead letter lies; written ``3-1042``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: str, topic: str) -> LetterId:
        """Reads ``3-1042``, or the long form with the topic before it. Raises ValueError."""
        written = _ID.fullmatch(text)
        if written is None:
            raise ValueError(f"{text!r} is no dead letter's id: write PARTITION-OFFSET, such as 3-1042")
        if written["topic"] not in (None, topic):
            raise ValueError(f"{text!r} does not lie on {topic}")
        return cls(int(written["partition"]), int(written["offset"]))


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter. Its key, value and headers are bytes from anywhere: show them with care."""

    topic: str
    id: LetterId
    timestamp: int
    """When it became a dead letter, milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    replayed: bool = False
    """Whether it was sent again."""

    @property
    def died_at(self) -> datetime:
        """Its timestamp; one outside the calendar is moved to the nearest date."""
        return datetime.fromtimestamp(min(max(self.timestamp, 0), _LAST_MS) / 1000, UTC)

    @property
    def reason(self) -> str:
        """Stable code of why it is a dead letter; empty when the record has none."""
        return self.header(DLQ_REASON)

    @property
    def message(self) -> str:
        """What went wrong, in words."""
        return self.header(DLQ_MESSAGE)

    @property
    def attempts(self) -> int:
        """Model calls made before it died."""
        written = self.header(DLQ_ATTEMPTS)
        return int(written[:9]) if written.isascii() and written.isdigit() else 0

    @property
    def replays(self) -> int:
        """How often its turn was replayed before it died this time."""
        return replay_count(self.headers)

    @property
    def turn_id(self) -> str | None:
        """Read from its value; None where it cannot be."""
        return self._said("turn_id")

    @property
    def conversation_id(self) -> str | None:
        """Read from its value, or else its key."""
        said = self._said("conversation_id")
        return said if said is not None or self.key is None else self.key.decode("utf-8", "backslashreplace")

    @property
    def tenant(self) -> str | None:
        """Read from its value, or of a reply from its header; None where it cannot be."""
        return self._said("tenant") or self.header(TENANT) or None

    @property
    def text(self) -> str | None:
        """What the user said; None where it cannot be read."""
        return self._said("text")

    def header(self, name: str) -> str:
        """The first header of this name as text, with what is not UTF-8 made visible; empty when there is none."""
        return next((value.decode("utf-8", "backslashreplace") for known, value in self.headers if known == name), "")

    def _said(self, name: str) -> str | None:
        said = self._fields.get(name)
        return said if isinstance(said, str) else None

    @cached_property
    def _fields(self) -> dict[str, Any]:
        try:
            fields = orjson.loads(self.value or b"")
        except orjson.JSONDecodeError:
            return {}
        return fields if isinstance(fields, dict) else {}


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects dead letters: those that match every field given here. An empty filter selects all."""

    reasons: frozenset[str] = frozenset()
    """Any of these codes."""
    conversation: str | None = None
    """Named by the value or by the key."""
    tenant: str | None = None
    since: datetime | None = None
    """Died at this time or later; has an offset from UTC."""
    until: datetime | None = None
    """Died before this time; has an offset from UTC."""
    ids: frozenset[LetterId] = frozenset()
    """Any of these."""

    def __post_init__(self) -> None:
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{moment} has no offset from UTC")

    @property
    def since_ms(self) -> int | None:
        """`since` in milliseconds since the epoch."""
        return None if self.since is None else milliseconds(self.since)

    def matches(self, letter: DeadLetter) -> bool:
        """Whether the filter selects this letter. Checks that decode the value come last: they cost most."""
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.since is None or letter.timestamp >= milliseconds(self.since))
            and (self.until is None or letter.timestamp < milliseconds(self.until))
            and (self.conversation is None or self._of_conversation(letter, self.conversation))
            and (self.tenant is None or letter.tenant == self.tenant)
        )

    @staticmethod
    def _of_conversation(letter: DeadLetter, conversation: str) -> bool:
        return letter.key == conversation.encode("utf-8", "replace") or letter.conversation_id == conversation


def milliseconds(moment: datetime) -> int:
    """Since the epoch, rounded up: a record's timestamp is not before a moment exactly when it is not below this."""
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


def letter_of(record: ConsumerRecord, replayed: bool = False) -> DeadLetter:
    """The dead letter in a record; Kafka lets a header have no value, here that is an empty one."""
    return DeadLetter(
        record.topic,
        LetterId(record.partition, record.offset),
        record.timestamp,
        record.key,
        record.value,
        tuple((name, value or b"") for name, value in record.headers),
        replayed,
    )


def way_back(letter: DeadLetter, topic: str, partitions: Sequence[int]) -> int:
    """The partition of ``topic`` to replay a letter to: the one it came from.

    Whoever sent it may place keys otherwise than we do, and turns of one conversation must stay in one partition.
    """
    came_from = letter.header(DLQ_PARTITION)
    if letter.header(DLQ_TOPIC) == topic and came_from.isascii() and came_from.isdigit():
        partition = int(came_from[:9])
        if partition in partitions:
            return partition
    if letter.key is None:
        return partitions[letter.id.partition % len(partitions)]
    return partitions[partition_of(letter.key, len(partitions))]
