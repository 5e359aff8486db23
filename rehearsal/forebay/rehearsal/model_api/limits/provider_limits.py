"""The limits of the provider that is played: how much it takes on, and whether it works at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from forebay.rehearsal.model_api.errors import ModelApiError

MAX_WINDOW_S = 86_400.0


class Outage(StrEnum):
    """How every call fails while the provider is down."""

    REFUSE = "refuse"
    """500 at once, in the vendor's words."""
    UNAVAILABLE = "503"
    """503 at once."""
    HANG = "hang"
    """No answer until the outage is over, when the call is decided anew, or until the client leaves."""
    DROP = "drop"
    """The connection closes without an answer."""


class Limit(StrEnum):
    """What a call can exceed."""

    IN_FLIGHT = "in_flight"
    REQUESTS = "requests"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the provider allows; None stands for no limit. Every field may change while the API runs."""

    max_in_flight: int | None = None
    """Calls in progress at once, over all keys and both vendors; one more is refused at once. Default None."""
    refuse_with: int = 529
    """HTTP status of that refusal: 429, or 529 for overload (503 from OpenAI). Default 529."""
    retry_after_s: float | None = 1.0
    """Seconds in the Retry-After header of that 429 and of a `rate_limit` fault; None sends none. Default 1."""
    requests_per_minute: int | None = None
    """Calls that one key may have accepted in any `window_s` seconds. Default None."""
    tokens_per_minute: int | None = None
    """Input and output tokens of the calls that one key may have accepted in any `window_s` seconds. Default None."""
    window_s: float = 60.0
    """Length of the sliding window, in seconds, which makes the "minute" of a test shorter. Default 60."""
    enforce: bool = True
    """Whether calls over the requests and tokens per minute are refused; False only counts and tells. Default True."""
    outage: Outage | None = None
    """How every call fails now; None when the provider works. True, or a mode's name, is understood. Default None."""

    def __post_init__(self) -> None:
        """Raise ModelApiError for a value that makes no sense."""
        for name in ("max_in_flight", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ModelApiError(f"{name} must be a whole number of at least 1, or none, got {value!r}")
        if self.refuse_with not in (429, 529):
            raise ModelApiError(f"refuse_with must be 429 or 529, got {self.refuse_with!r}")
        if self.retry_after_s is not None and not (_is_finite(self.retry_after_s) and self.retry_after_s >= 0):
            raise ModelApiError(f"retry_after_s must be a number of at least 0, or none, got {self.retry_after_s!r}")
        if not (_is_finite(self.window_s) and 0 < self.window_s <= MAX_WINDOW_S):
            raise ModelApiError(f"window_s must be above 0 and at most {MAX_WINDOW_S:.0f}, got {self.window_s!r}")
        if type(self.enforce) is not bool:
            raise ModelApiError(f"enforce must be true or false, got {self.enforce!r}")
        object.__setattr__(self, "outage", read_outage(self.outage))

    @property
    def metered(self) -> bool:
        """Whether calls and tokens are counted per key over the window."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        return self.metered or self.max_in_flight is not None

    def changed(self, body: Mapping[str, Any]) -> Limits:
        """These limits with some fields changed; ModelApiError for an unknown field or a wrong value."""
        unknown = sorted(set(body) - set(_NAMES))
        if unknown:
            raise ModelApiError(f"unknown field {unknown[0]!r}: limits take {', '.join(_NAMES[:-1])} and {_NAMES[-1]}")
        return replace(self, **body)

    def shown(self) -> dict[str, Any]:
        """The fields as `POST /limits` takes them."""
        return asdict(self)


def read_outage(value: object) -> Outage | None:
    """The outage of that name; False and None mean none, True refuses. ModelApiError names the known ones."""
    if value is None or value is False:
        return None
    if value is True:
        return Outage.REFUSE
    try:
        return Outage(str(value))
    except ValueError:
        raise ModelApiError(f"outage must be {', '.join(Outage)}, or false, got {value!r}") from None


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_NAMES = tuple(field.name for field in fields(Limits))
