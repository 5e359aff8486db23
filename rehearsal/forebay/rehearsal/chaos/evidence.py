"""What a run leaves behind, to be counted. Pure values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .watched_model_api import AnsweredCall

Place = tuple[int, int]
"""Partition and offset."""
BlowKind = Literal["sigkill", "sigstop", "ended"]


class TopicRecord(NamedTuple):
    """One record as it lies in its topic."""

    partition: int
    offset: int
    timestamp: float
    """Unix seconds."""
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]


class Blow(NamedTuple):
    """A process that lost what it was doing, at least for a while."""

    process: str
    kind: BlowKind
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run left behind."""

    requests: Sequence[TopicRecord]
    replies: Sequence[TopicRecord]
    dead_letters: Sequence[TopicRecord]
    calls: Sequence[AnsweredCall]
    blows: Sequence[Blow] = ()
