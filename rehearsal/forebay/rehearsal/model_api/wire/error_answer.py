"""Why a call is answered with an error, before a vendor puts it into its own words."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error answer in one vendor's terms."""

    status: int
    """HTTP status."""
    outcome: str
    """Name under which the statistics count it."""
    type: str
    """The vendor's `error.type`."""
    message: str
    code: str | None = None
    """The vendor's error code, if it has one: OpenAI `error.code`, Anthropic `error.details.error_code`."""
    param: str | None = None
    """The parameter at fault (OpenAI)."""
    retry_after_s: float | None = None
    """Seconds of the Retry-After header; None sends none."""
    exhausted: bool = False
    """Whether the rate-limit headers show nothing left."""
    after_latency: bool = False
    """Whether the answer takes the usual latency; the others come at once."""

    def with_retry_after(self, seconds: float | None) -> ErrorAnswer:
        """The same refusal with a Retry-After header; None leaves it out."""
        return replace(self, retry_after_s=seconds)

    def counted_as(self, outcome: str) -> ErrorAnswer:
        """The same refusal under another name in the statistics, with headers that show what is really left."""
        return replace(self, outcome=outcome, exhausted=False)


class CallRefused(Exception):
    """Raised while a request is read, with the answer it gets."""

    def __init__(self, refusal: ErrorAnswer) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
