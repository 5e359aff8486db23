"""An exchange: one answered turn of a conversation, with its tool calls and results."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from forebay.workers.messages import Message, ToolCall, ToolResult

_UNSAID, _UNANSWERED = "[no text]", "[no answer]"
"""In the place of texts that are empty: no provider takes an empty message."""


class Exchange(NamedTuple):
    """What the user said and the answer. A model is shown all of it or nothing."""

    said: str
    """Empty where a person of the shop wrote without being asked."""
    answer: str
    steps: tuple[Message, ...] = ()
    """The tool calls between the two, and their results."""
    person: str | None = None
    """Name of the person of the shop who wrote the answer, maybe empty; None is the assistant."""

    def messages(self) -> tuple[Message, ...]:
        """The exchange as messages for a model, as every provider takes them: the user's first, and none empty."""
        said = self.said or (_UNSAID if self.person is None else _note(self.person))
        return Message("user", said), *self.steps, Message("assistant", self.answer or _UNANSWERED)


def _note(person: str) -> str:
    """What stands where the user would have spoken."""
    name = f", {person}," if person else ""
    return f"[The customer wrote nothing. A colleague{name} wrote the following message to the customer.]"


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


def encode_exchange(exchange: Exchange) -> bytes:
    """As JSON for a store."""
    said, answer, steps, person = exchange
    return orjson.dumps([said, answer, encode_steps(steps), person])


def decode_exchange(value: bytes) -> Exchange:
    """What `encode_exchange` wrote."""
    said, answer, steps, person = orjson.loads(value)
    return Exchange(said, answer, decode_steps(steps), person)
