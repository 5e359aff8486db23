"""Options of one model: what a user may set apart from its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """None leaves a field to the provider, or to the assistant's and the worker's own setting."""

    max_tokens: int | None = None
    """Most tokens to write."""
    temperature: float | None = None
    """Anthropic's newer models take no sampling: the catalogue knows."""
    top_p: float | None = None
    call_s: float | None = None
    """Seconds for a whole call."""
    first_token_s: float | None = None
    """Seconds to the first piece of a streamed reply."""

    @property
    def sampling(self) -> dict[str, float]:
        """As both vendors call it."""
        given = {"temperature": self.temperature, "top_p": self.top_p}
        return {name: value for name, value in given.items() if value is not None}
