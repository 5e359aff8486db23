"""Options of one model: tokens, sampling, timeouts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """None leaves a field to the provider, or to the assistant's and the worker's own setting."""

    max_tokens: int | None = None
    """Maximum number of output tokens."""
    temperature: float | None = None
    """Not for Anthropic's newer models: the catalogue says which take it."""
    top_p: float | None = None
    call_s: float | None = None
    """Seconds for a whole call."""
    first_token_s: float | None = None
    """Seconds to the first piece of a streamed reply."""

    @property
    def sampling(self) -> dict[str, float]:
        """The options under the names that both vendors' APIs use."""
        given = {"temperature": self.temperature, "top_p": self.top_p}
        return {name: value for name, value in given.items() if value is not None}
