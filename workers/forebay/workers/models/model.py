"""A model as the worker sees it: a prompt in, a completion out, and errors that say whether to try again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Protocol

import orjson

from forebay.schemas import Usage
from forebay.workers.messages import ToolCall

from .prompt import Prompt


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered, whole."""

    text: str
    finish_reason: str
    usage: Usage
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Response headers: they tell the provider's rate limits."""
    calls: tuple[ToolCall, ...] = ()
    """Tools that the model asks for before it goes on."""
    model: str | None = None
    """The model that answered, as the provider names it: where the one asked for is an alias, its version."""
    session: tuple[str, str] | None = None
    """(agent, session) where the provider keeps the conversation: to be among the `sessions` of its next prompts."""


class Trouble(StrEnum):
    """What went wrong with a call: decides what is done next, and is a label of the metric."""

    CONNECTION = "connection"
    """No connection, or it broke."""
    TIMEOUT = "timeout"
    SERVER = "server"
    """The provider's own error, 500 and its like."""
    OVERLOADED = "overloaded"
    """The provider has no capacity for anyone, 529 or 503."""
    RATE_LIMITED = "rate_limited"
    """We are above a quota, 429."""
    MALFORMED = "malformed"
    """The answer is unreadable: not JSON, cut off, without its end."""
    SPENDING_LIMIT = "spending_limit"
    """The account's spending limit is reached: a 429 that does not go away by waiting."""
    CREDENTIALS = "credentials"
    """The key is wrong or may not do this, 401 or 403."""
    CONTEXT = "context"
    """The prompt is longer than the model's context window."""
    REJECTED = "rejected"
    """The request itself is refused; the same one would be again."""


RETRYABLE = frozenset(
    {
        Trouble.CONNECTION,
        Trouble.TIMEOUT,
        Trouble.SERVER,
        Trouble.OVERLOADED,
        Trouble.RATE_LIMITED,
        Trouble.MALFORMED,
    }
)
"""After these the same request may succeed (both vendors' SDKs and documentation agree)."""


class ModelError(Exception):
    """A model call failed; `trouble` says how, as far as the provider tells."""

    def __init__(
        self,
        message: str,
        trouble: Trouble,
        *,
        status: int | None = None,
        headers: Mapping[str, str] = {},
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.status = status
        """HTTP status; None when there was no answer."""
        self.headers = headers
        """Response headers, if there was a response."""
        self.request_id = request_id

    @property
    def retry_after_s(self) -> float | None:
        """Seconds the provider asks us to wait; None when it says nothing."""
        return retry_after_s(self.headers)


OnText = Callable[[str], None]
"""Called with each fragment of a streamed reply."""


class Model(Protocol):
    """One model of one provider."""

    @property
    def name(self) -> str:
        """The name that the provider uses."""

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        """Calls the model once, streaming when ``on_text`` is given. Raises ModelError."""


_TROUBLE_OF_STATUS = {
    401: Trouble.CREDENTIALS,
    403: Trouble.CREDENTIALS,
    408: Trouble.TIMEOUT,
    409: Trouble.SERVER,
    413: Trouble.REJECTED,
    429: Trouble.RATE_LIMITED,
    503: Trouble.OVERLOADED,
    529: Trouble.OVERLOADED,
}
_TOO_LONG = re.compile(r"prompt is too long|context.?(length|window)|too many tokens|exceeds? .*context", re.IGNORECASE)


def trouble_of(status: int, message: str) -> Trouble:
    """The trouble that an HTTP status of 400 or more stands for."""
    if status in (400, 413) and _TOO_LONG.search(message):
        return Trouble.CONTEXT
    return _TROUBLE_OF_STATUS.get(status, Trouble.SERVER if status >= 500 else Trouble.REJECTED)


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
    except (ValueError, TypeError, OverflowError):
        return None  # a header nobody can read asks for nothing


def parsed(content: bytes) -> Any:
    """A provider's JSON. Raises ValueError.

    Some models write half of a character now and then: orjson refuses the whole answer for it, the standard library does not.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content)


def count(value: object) -> int:
    """A token count from a provider; 0 if it is not a number: a wrong figure must not lose the answer."""
    return max(0, int(value)) if isinstance(value, (int, float)) else 0


def model_name(name: object) -> str | None:
    """The name of the model that answered, as the provider says; None if that is not a name."""
    return name[:128] if isinstance(name, str) else None


def whole_text(text: object) -> str:
    """A provider's text as Unicode that can be encoded: halves of a surrogate pair are joined, lone ones replaced.

    Raises TypeError when it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"the text is a {type(text).__name__}")
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
