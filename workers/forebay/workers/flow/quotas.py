"""Reads the rate-limit headers of both vendors. Pure.

anthropic: ``anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}``, resets in
RFC 3339; openai: ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, resets like ``1m2.5s``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from .limits import Quota

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def quotas(headers: Mapping[str, str], now: datetime | None = None) -> dict[str, Quota]:
    """The quotas in a response's headers, by resource; only those that the headers have."""
    found: dict[str, Quota] = {}
    for resource in ("requests", "tokens", "input-tokens", "output-tokens"):
        for limit, remaining, reset in (
            (
                f"anthropic-ratelimit-{resource}-limit",
                f"anthropic-ratelimit-{resource}-remaining",
                f"anthropic-ratelimit-{resource}-reset",
            ),
            (f"x-ratelimit-limit-{resource}", f"x-ratelimit-remaining-{resource}", f"x-ratelimit-reset-{resource}"),
        ):
            if left := headers.get(remaining):
                quota = Quota(_number(headers.get(limit)), _number(left), _seconds(headers.get(reset), now))
                found[resource.replace("-", "_")] = quota
    return found


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e15 else None


def _seconds(value: str | None, now: datetime | None) -> float | None:
    """Seconds until a reset, however the vendor writes it."""
    if not value:
        return None
    parts = _DURATION.findall(value)
    if parts and "".join(number + unit for number, unit in parts) == value:
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
        return seconds if math.isfinite(seconds) else None
    try:
        return max(0.0, (datetime.fromisoformat(value) - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError):
        return None
