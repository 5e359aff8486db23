"""A prompt: all that a model is told, and the tools it may ask for. No vendor's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

BYTES_A_TOKEN = 3.6
"""Of prompts in UTF-8, before a model's replies have taught better."""


class ToolCall(NamedTuple):
    """A tool that a model asks for."""

    call_id: str
    """The provider's; the result names it."""
    name: str
    arguments: str
    """JSON, as the model wrote it: nobody has checked it yet."""


class ToolResult(NamedTuple):
    """What came of a tool call."""

    call_id: str
    text: str
    failed: bool = False


class Message(NamedTuple):
    """One message of a conversation."""

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """Of an assistant that wants to know something first."""
    results: tuple[ToolResult, ...] = ()
    """Of a tool message: one for each call of the message before it."""

    @property
    def size(self) -> int:
        """Bytes of UTF-8 that a model is told."""
        size = len(self.text.encode())
        for call in self.calls:
            size += len(call.name) + len(call.arguments.encode())
        for result in self.results:
            size += len(result.text.encode())
        return size


class ToolSpec(NamedTuple):
    """A tool as a model sees it."""

    name: str
    description: str
    schema: str
    """JSON Schema of the arguments, an object, as JSON: so that a tool can be a key of a cache."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """All that a model is told."""

    system: str
    messages: tuple[Message, ...]
    """Oldest first; the last is the user's, or the results of tools."""
    max_tokens: int
    tools: tuple[ToolSpec, ...] = ()
    may_call: bool = True
    """False when it has asked for tools often enough, and must answer with what it knows."""
    sessions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What providers keep of this conversation, by agent: the pairs of earlier `Completion.session`."""

    def shorter(self) -> Prompt:
        """The same without the older three quarters of what was said; what is left begins with the user's word.

        What the user said last stays, with all the tools have brought since.
        """
        starts = [at for at, message in enumerate(self.messages) if message.role == "user"]
        wanted = 3 * len(self.messages) // 4
        return replace(self, messages=self.messages[next((at for at in starts if at >= wanted), starts[-1]) :])

    @property
    def shortest(self) -> bool:
        """Whether `shorter` would be no shorter."""
        return sum(message.role == "user" for message in self.messages) == 1

    def following(self, *messages: Message) -> Prompt:
        """The same with more messages at its end."""
        return replace(self, messages=self.messages + messages)
