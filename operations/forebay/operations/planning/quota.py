"""Quota: what each model is asked at the peak, and what its provider allows. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .expected import MARGIN, Expected


@dataclass(frozen=True, slots=True)
class QuotaNeed:
    """What one model needs and is given: requests and tokens a minute. What is needed has the `MARGIN` in it."""

    model: str
    share: float
    """Of all turns."""
    requests_needed: float
    tokens_needed: float
    requests_given: float | None
    tokens_given: float | None
    peak: float

    @property
    def requests_last_to(self) -> float:
        """Turns a second, of all models, at which its requests are used up; infinite where the quota is not known."""
        return _lasts_to(self.peak, self.requests_given, self.requests_needed)

    @property
    def tokens_last_to(self) -> float:
        """Turns a second, of all models, at which its tokens are used up; infinite where the quota is not known."""
        return _lasts_to(self.peak, self.tokens_given, self.tokens_needed)

    @property
    def enough(self) -> bool:
        """Whether the peak fits, as far as is known."""
        return min(self.requests_last_to, self.tokens_last_to) >= self.peak


def quotas(expected: Expected) -> tuple[QuotaNeed, ...]:
    """The quota of each model."""
    found = []
    for model, part in expected.models:
        share = part * expected.asked
        requests = expected.peak * share * 60 * MARGIN
        found.append(
            QuotaNeed(model, share, requests, requests * expected.tokens, expected.rpm, expected.tpm, expected.peak)
        )
    return tuple(found)


def calls_last_to(expected: Expected) -> float:
    """Turns a second at which the calls that the provider takes at once are all in use; infinite where it is not known."""
    if expected.calls_at_once is None:
        return math.inf
    return expected.calls_at_once / expected.service.mean_s / expected.asked


def allowed(expected: Expected, found: tuple[QuotaNeed, ...]) -> float:
    """Turns a second that the provider takes, by all known limits."""
    return min(calls_last_to(expected), *(min(quota.requests_last_to, quota.tokens_last_to) for quota in found))


def _lasts_to(peak: float, given: float | None, needed: float) -> float:
    return math.inf if given is None else peak * given / needed


def calls_per_s(expected: Expected) -> float | None:
    """Model calls a second, of all models, that the quotas allow without any margin; None where they are not known."""
    limits = [expected.rpm, None if expected.tpm is None else expected.tpm / expected.tokens]
    given = [limit for limit in limits if limit is not None]
    return min(given) / 60 / max(part for _, part in expected.models) if given else None
