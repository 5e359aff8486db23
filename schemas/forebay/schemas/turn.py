"""A chat turn: one message of a user in a conversation, as it is on ``chat.requests``."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, model_validator

from .when_busy import WhenBusy

Identifier = Annotated[str, Field(min_length=1, max_length=128)]
Priority = Literal["high", "normal", "low"]

MAX_TEXT = 32_768
"""Maximum length of a turn's text, in characters."""

ONLY = "forebay.only"
"""Attribute of a turn that no model has time for: ``faq`` means that only the FAQ may answer it."""


def new_id() -> str:
    """A UUIDv7 (RFC 9562): unique, sorted by creation time to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return str(uuid.UUID(int=number & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62))


def made_at(turn_id: str) -> float | None:
    """When a UUIDv7 was made, in seconds since the epoch; None for other ids."""
    try:
        known = uuid.UUID(turn_id)
    except ValueError:
        return None
    return (known.int >> 80) / 1000 if known.version == 7 else None


class Confirm(BaseModel):
    """The user's answer to a pending action: accept or decline."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    action_id: Identifier
    accept: bool


class Turn(BaseModel):
    """One chat turn. Unknown fields are ignored, so that producers may be newer than workers."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "anyOf": [
                {"required": ["text"], "properties": {"text": {"minLength": 1}}},
                {"required": ["confirm"], "properties": {"confirm": {"type": "object"}}},
            ]
        },
    )

    turn_id: Identifier = Field(description="Unique; a UUIDv7 is advised.")
    conversation_id: Identifier = Field(description="Turns of one conversation are answered one at a time, in order.")
    text: str = Field(
        default="", max_length=MAX_TEXT, description="What the user said; required unless `confirm` is given."
    )
    confirm: Confirm | None = Field(default=None, description="Answers a pending action.")
    user_id: str | None = None
    tenant: str | None = None
    sent_at: AwareDatetime | None = Field(default=None, description="When the frontend sent it (RFC 3339).")
    expires_at: AwareDatetime | None = Field(
        default=None,
        description="Answered `expired` after this; without it the worker's time to live counts from `sent_at`.",
    )
    priority: Priority = "normal"
    stream: bool = Field(default=False, description="Whether fragments of the reply are wanted on the deltas topic.")
    when_busy: WhenBusy | None = Field(
        default=None,
        description="While the conversation has an unfinished turn: `enqueue` waits and is answered alone; `merge` is"
        " answered together with the other turns of its user that wait; `interrupt` also ends the call under way;"
        " `reject` fails. Without it the assistant's own rule.",
    )
    attributes: dict[str, JsonValue] = Field(
        default_factory=dict, description="Anything the frontend wants carried, such as page and locale."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Turn:
        if not self.text and self.confirm is None:
            raise ValueError("a turn needs `text` of 1 to 32,768 characters, or `confirm`")
        return self
