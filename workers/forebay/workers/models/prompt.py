"""A prompt: messages and tools for a model, independent of any vendor's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from forebay.workers.messages import Message

BYTES_A_TOKEN = 3.6
"""Bytes of UTF-8 in a token of a prompt, until a model's usage figures give a better estimate."""


class ToolSpec(NamedTuple):
    """A tool as a model sees it."""

    name: str
    description: str
    schema: str
    """JSON Schema of the arguments, as JSON text so that a tool is hashable."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that one model call sends."""

    system: str
    messages: tuple[Message, ...]
    """Oldest first; the last is the user's, or the results of tools."""
    max_tokens: int
    tools: tuple[ToolSpec, ...] = ()
    may_call: bool = True
    """False when the limit of tool rounds is reached and the model must answer without tools."""
    sessions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Sessions that providers keep for this conversation, by agent: earlier `Completion.session` pairs."""

    def shorter(self) -> Prompt:
        """The same without the older three quarters of the conversation; the rest begins with a user's message.

        The user's last message stays, with all tool results since.
        """
        starts = [at for at, message in enumerate(self.messages) if message.role == "user"]
        wanted = 3 * len(self.messages) // 4
        return replace(self, messages=self.messages[next((at for at in starts if at >= wanted), starts[-1]) :])

    @property
    def shortest(self) -> bool:
        """Whether `shorter` would be no shorter."""
        return sum(message.role == "user" for message in self.messages) == 1

    def following(self, *messages: Message) -> Prompt:
        """The same with more messages at the end."""
        return replace(self, messages=self.messages + messages)
