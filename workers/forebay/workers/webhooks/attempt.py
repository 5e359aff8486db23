"""An attempt: what came of one request to a webhook's server. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from forebay.workers.models import Trouble

_TRY_AGAIN = {
    408: Trouble.TIMEOUT,
    425: Trouble.SERVER,
    429: Trouble.RATE_LIMITED,
    503: Trouble.OVERLOADED,
}


class Attempt(NamedTuple):
    """What a request came to."""

    trouble: Trouble | None
    """None: delivered. `REJECTED`: the same request would be refused again. Any other: it may succeed later."""
    says: str
    """For operators."""
    retry_after_s: float | None = None
    """How long the server asks to wait, in seconds."""


def answered(status: int, retry_after: str | None, now: datetime) -> Attempt:
    """What an answer means; ``retry_after`` is its header, ``now`` is aware of its time zone."""
    if 200 <= status < 300:
        return Attempt(None, f"HTTP {status}")
    if status in _TRY_AGAIN or status >= 500:
        wait = retry_after_s(retry_after, now)
        return Attempt(_TRY_AGAIN.get(status, Trouble.SERVER), f"HTTP {status}", wait)
    if 300 <= status < 400:
        return Attempt(
            Trouble.REJECTED, f"HTTP {status}: redirects are not followed, write the new address in the file"
        )
    if status == 410:
        return Attempt(Trouble.REJECTED, "HTTP 410: the server wants no more webhooks, take it out of the file")
    return Attempt(Trouble.REJECTED, f"HTTP {status}")


def retry_after_s(written: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` asks for, written as a number or as a date; None where it says nothing."""
    if written is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", written.strip()):
        return float(written)
    try:
        at = parsedate_to_datetime(written)
    except ValueError:
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
