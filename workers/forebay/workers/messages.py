"""Messages: what a conversation consists of, in no provider's words. Stores keep them, models are shown them."""

from __future__ import annotations

from typing import Literal, NamedTuple


class ToolCall(NamedTuple):
    """A tool that a model asks for."""

    call_id: str
    """The provider's id; the result repeats it."""
    name: str
    arguments: str
    """JSON as the model wrote it, not validated yet."""


class ToolResult(NamedTuple):
    """The result of a tool call."""

    call_id: str
    text: str
    failed: bool = False


class Message(NamedTuple):
    """One message of a conversation."""

    role: Literal["user", "assistant", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    """Tool calls in an assistant's message."""
    results: tuple[ToolResult, ...] = ()
    """In a tool message: one for each call of the message before it."""

    @property
    def size(self) -> int:
        """Size in bytes of UTF-8."""
        size = len(self.text.encode())
        for call in self.calls:
            size += len(call.name) + len(call.arguments.encode())
        for result in self.results:
            size += len(result.text.encode())
        return size
