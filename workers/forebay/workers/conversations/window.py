"""The window: which part of a conversation goes into a prompt. Pure.

Whole exchanges only, so that a tool's call and its result are never parted. The window's beginning moves in blocks, not
with every turn: between two moves each prompt begins with the whole of the one before, which is what a provider's prompt
cache can serve (Anthropic and OpenAI both match from the first byte on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from forebay.workers.messages import Message

from .exchange import Exchange
from .state import Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How much of a conversation a model is shown."""

    exchanges: int = 20
    """Maximum number of exchanges, the latest ones."""
    tokens: int = 8_000
    """Maximum number of tokens, as estimated."""
    share: float = 0.5
    """Maximum share of the model's context window."""
    block: int = 8
    """Exchanges that leave the window together, and go into the summary together."""
    summarise: bool = True
    """Whether what leaves the window is summarised."""
    summary_model: str | None = None
    """None takes the cheapest that the assistant has."""

    def __post_init__(self) -> None:
        if not (1 <= self.block <= self.exchanges and 0 < self.share <= 1 and self.tokens > 0):
            raise ValueError("Window: tokens and block from 1, exchanges not below block, share over 0 to 1")


class Fitted(NamedTuple):
    """The part of a history that is shown."""

    messages: tuple[Message, ...]
    """Oldest first, without the user's new message."""
    left_out: int
    """Bytes that are not shown."""
    summarise_to: int
    """How many of the conversation's exchanges a summary should cover by now; 0 when it covers enough."""


def fit(history: Sequence[Exchange], conversation: Conversation, window: Window, room: int) -> Fitted:
    """The messages of what fits into ``room`` bytes; ``history`` are the conversation's latest exchanges."""
    oldest = conversation.exchanges - len(history)
    start = max(conversation.summarised, oldest, _upwards(conversation.exchanges - window.exchanges, window.block))
    messages = [exchange.messages() for exchange in history]
    sizes = [sum(message.size for message in told) for told in messages]
    shown = sum(sizes[start - oldest :])
    while shown > room and start < conversation.exchanges:
        moved = min(conversation.exchanges, _upwards(start + 1, window.block))
        if moved == conversation.exchanges:  # the latest block alone is too large: one by one
            moved = start + 1
        shown -= sum(sizes[start - oldest : moved - oldest])
        start = moved
    wanted = 0
    if window.summarise:
        due = conversation.exchanges - conversation.summarised >= window.exchanges - window.block // 2
        wanted = max(start, min(conversation.exchanges, conversation.summarised + window.block) if due else 0)
    shown_messages = tuple(message for told in messages[start - oldest :] for message in told)
    return Fitted(shown_messages, sum(sizes) - shown, wanted if wanted > conversation.summarised else 0)


def said_with(summary: str, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages with a summary of what was said before them.

    It goes in front of the user's first word, not into the instructions: it was made from what a customer wrote.
    """
    if not summary:
        return messages
    first = messages[0]
    told = f"[Summary of what was said before]\n{summary}\n[End of the summary]\n\n{first.text}"
    return first._replace(text=told), *messages[1:]


def _upwards(exchanges: int, block: int) -> int:
    """The next full number of blocks, counted from the conversation's beginning."""
    return max(0, -(-exchanges // block) * block)
