"""An exchange: one answered turn of a conversation, with what tools brought for it."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from forebay.workers.models import Message, ToolCall, ToolResult


class Exchange(NamedTuple):
    """What the user said and what they were told. It is shown to a model whole or not at all."""

    said: str
    answer: str
    steps: tuple[Message, ...] = ()
    """Between the two: the tools that the model asked for, and their results."""

    def messages(self) -> tuple[Message, ...]:
        """As a model is shown it."""
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
