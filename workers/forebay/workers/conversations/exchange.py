"""An exchange: one answered turn of a conversation, with its tool calls and results."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from forebay.workers.messages import Message, ToolCall, ToolResult


class Exchange(NamedTuple):
    """What the user said and the answer. A model is shown all of it or nothing."""

    said: str
    answer: str
    steps: tuple[Message, ...] = ()
    """The tool calls between the two, and their results."""

    def messages(self) -> tuple[Message, ...]:
        """The exchange as messages for a model."""
        return Message("user", self.said), *self.steps, Message("assistant", self.answer)


def encode_steps(steps: tuple[Message, ...]) -> str | None:
    """As JSON for a store; None for none."""
    if not steps:
        return None
    return orjson.dumps(
        [
            [message.role, message.text, [tuple(call) for call in message.calls], [tuple(r) for r in message.results]]
            for message in steps
        ]
    ).decode()


def decode_steps(value: str | bytes | None) -> tuple[Message, ...]:
    """What `encode_steps` wrote."""
    if not value:
        return ()
    return tuple(
        Message(role, text, tuple(ToolCall(*call) for call in calls), tuple(ToolResult(*result) for result in results))
        for role, text, calls, results in orjson.loads(value)
    )
