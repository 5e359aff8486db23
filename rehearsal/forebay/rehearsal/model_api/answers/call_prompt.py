"""One model call as both vendors' requests are read into, and the walk that gathers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .offer import Offer
from .tokens import MESSAGE_TOKENS, estimate


@dataclass(frozen=True, slots=True)
class CallPrompt:
    """What a call asks for."""

    model: str
    stream: bool
    user_texts: list[str]
    """Text of each user message that has some, oldest first."""
    tool_results: list[str]
    """Tool results given after the last user text, oldest first."""
    tools: frozenset[str]
    """Names of the tools the model may call now."""
    tokens: int
    """Estimated size of the whole prompt, cached part included."""
    cache_read: int = 0
    """Tokens of the prompt that the simulated cache held."""
    cache_write: int = 0
    """Tokens of the prompt that the call adds to the cache (Anthropic)."""
    max_tokens: int | None = None
    """Longest reply, in tokens."""
    include_usage: bool = False
    """Whether a stream ends with a usage chunk (OpenAI)."""
    offers: Mapping[str, Offer] = field(default_factory=dict)
    """The same tools with what they are described as, by name."""

    @property
    def last_text(self) -> str:
        """The last user text, by which the statistics count the calls of a turn."""
        return self.user_texts[-1] if self.user_texts else ""


@dataclass(slots=True)
class Transcript:
    """Gathers a prompt while its messages are read in order."""

    tokens: int = 0
    """Estimated tokens so far."""
    marked: int = 0
    """Tokens up to the last cache marker."""
    sent_before: int = 0
    """Tokens of the call that the last assistant message answered: what a cache can hold. 0 on a first turn."""
    user_texts: list[str] = field(default_factory=list)
    tool_results: list[str] = field(default_factory=list)

    def count(self, text: str) -> None:
        """Text that only costs tokens: system prompts, tool definitions, calls."""
        self.tokens += estimate(text)

    def begin_message(self, role: str) -> None:
        """The framing of the next message."""
        if role == "assistant":
            self.sent_before = self.tokens
        self.tokens += MESSAGE_TOKENS

    def user(self, text: str) -> None:
        """One user message's text; it closes the tool calls before it."""
        self.user_texts.append(text)
        self.tool_results.clear()

    def tool_result(self, text: str) -> None:
        """One tool's answer."""
        self.tool_results.append(text)
        self.count(text)

    def mark(self) -> None:
        """A cache marker stands here."""
        self.marked = self.tokens

    def prompt(self, body: Mapping[str, Any], offers: Mapping[str, Offer], **more: Any) -> CallPrompt:
        """What was gathered of a request's body; ``more`` are the fields that only one vendor has."""
        return CallPrompt(
            model=body["model"],
            stream=body.get("stream") is True,
            user_texts=self.user_texts,
            tool_results=self.tool_results,
            tools=frozenset(offers),
            tokens=self.tokens,
            offers=offers,
            **more,
        )
