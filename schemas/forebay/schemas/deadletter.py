"""A dead letter: a record that got no answer, its bytes unchanged and the reason in its headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from . import headers as names
from .headers import Headers


class Reason(StrEnum):
    """Why a record became a dead letter. The codes are stable: operators filter by them."""

    UNDECODABLE = "undecodable"
    """The value is not JSON, or not UTF-8."""
    INVALID = "invalid"
    """The value is JSON but not a chat turn."""
    KEY_MISMATCH = "key_mismatch"
    """The record's key names another conversation than its value."""
    RETRIES_EXHAUSTED = "retries_exhausted"
    """The model kept failing until the attempts or the time ran out."""
    REJECTED_BY_MODEL = "rejected_by_model"
    """The model refused the request, and no retry would help."""
    HANDLER_ERROR = "handler_error"
    """The assistant's own code raised."""
    UNKNOWN_ACTION = "unknown_action"
    """The turn confirms an action that is not pending."""
    OVER_BUDGET = "over_budget"
    """A spending ceiling is reached."""
    REJECTED_BY_DESTINATION = "rejected_by_destination"
    """A webhook's server refused the reply, and no retry would help."""
    DESTINATION_DOWN = "destination_down"
    """A webhook's server is away, and more of its replies wait already than may."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a turn got no answer."""

    reason: Reason
    message: str
    attempts: int = 0
    """Model calls made."""


def dead_letter_headers(
    original: Iterable[tuple[str, bytes]],
    failure: Failure,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    failed_at: datetime,
    worker: str,
) -> Headers:
    """The original headers followed by the ``dlq.*`` ones.

    ``timestamp`` is the record's own, in milliseconds since the epoch. Marks of an earlier failure are replaced,
    so that a record that fails again after a replay says only why it failed last.
    """
    kept = [(name, value) for name, value in original if not name.startswith(names.DLQ_PREFIX)]
    added = {
        names.DLQ_REASON: failure.reason.value,
        names.DLQ_MESSAGE: failure.message[:1000],
        names.DLQ_TOPIC: topic,
        names.DLQ_PARTITION: str(partition),
        names.DLQ_OFFSET: str(offset),
        names.DLQ_TIMESTAMP: str(timestamp),
        names.DLQ_ATTEMPTS: str(failure.attempts),
        names.DLQ_FAILED_AT: failed_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        names.DLQ_WORKER: worker,
    }
    return (*kept, *((name, value.encode()) for name, value in added.items()))
