"""A model as the worker sees it: a prompt in, a completion out, and errors that say whether to try again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple, Protocol

from schemas import Usage


class Message(NamedTuple):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a model is told."""

    system: str
    messages: tuple[Message, ...]
    """Oldest first; the last is the user's."""
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered, whole."""

    text: str
    finish_reason: str
    usage: Usage
    request_id: str | None = None


class ModelError(Exception):
    """A call failed. Retryable or not is the provider's word, not a guess at the call site."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.status = status
        """HTTP status; None when there was no answer."""
        self.retry_after_s = retry_after_s
        """Seconds the provider asks us to wait; None when it says nothing."""
        self.request_id = request_id


OnText = Callable[[str], None]
"""Is given each fragment of a streamed reply as it comes."""


class Model(Protocol):
    """One model of one provider."""

    @property
    def name(self) -> str:
        """As the provider knows it."""

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        """Calls the model once, streaming when ``on_text`` is given. Raises ModelError."""

    async def close(self) -> None:
        """Closes its connections."""


RETRYABLE_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed (both vendors' SDKs and documentation agree)."""


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date) ask for; None without either."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.strip().replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError):
        return None  # a header nobody can read asks for nothing


def count(value: object) -> int:
    """A token count of a provider; 0 for what is none, since an answer is worth more than its usage figures."""
    return max(0, int(value)) if isinstance(value, (int, float)) else 0


def whole_text(text: object) -> str:
    """A provider's text as Unicode that can be encoded: halves of a surrogate pair are joined, lone ones replaced.

    Raises TypeError when it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"the text is a {type(text).__name__}")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
