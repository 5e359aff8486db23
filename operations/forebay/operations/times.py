"""Times as operators write them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_time(text: str, now: datetime) -> datetime:
    """A time as people write it: ISO 8601, in UTC unless it says otherwise, or so long before now. Raises ValueError."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    written = datetime.fromisoformat(text)
    return written if written.tzinfo is not None else written.replace(tzinfo=UTC)
