"""What the AI SDK's `useChat` asks for: which conversation, which turn, and the message that will hold its answer."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.config import JsonDict

from forebay.gateway.http.messages import ConfirmIn, TurnIn
from forebay.gateway.http.problem import Problem
from forebay.schemas import MAX_TEXT
from forebay.schemas.turn import Identifier

_MOST_ID = 128


_USER_MESSAGE: JsonDict = {
    "type": "object",
    "description": "A message as the AI SDK has it; only the last one is read, which is the user's.",
    "required": ["role", "parts"],
    "properties": {
        "id": {"type": "string"},
        "role": {"const": "user"},
        "parts": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "text"],
                "properties": {
                    "type": {"const": "text"},
                    "text": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
                },
            },
        },
    },
}


class Part(BaseModel):
    """One part of a message; of all kinds only text is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    type: str
    text: str | None = None


class Message(BaseModel):
    """A message of the page; only the text of the last one of the user is said."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str = ""
    role: Literal["system", "user", "assistant"]
    parts: list[Part] = Field(default_factory=list)

    def text(self) -> str:
        """Its text. Raises Problem."""
        if any(part.type == "file" for part in self.parts):
            raise Problem(400, "parts: files are not taken; say in words what is meant")
        text = "\n".join(part.text for part in self.parts if part.type == "text" and part.text is not None)
        if not 0 < len(text) <= MAX_TEXT:
            raise Problem(400, f"the last message has 1 to {MAX_TEXT:,} characters of text")
        return text


class Confirm(BaseModel):
    """The user's word on a pending action."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    action_id: Identifier
    accept: bool


class UiChatIn(BaseModel):
    """The body that DefaultChatTransport sends, and what `sendMessage`'s `body` option adds to it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: Identifier = Field(description="The chat's id: the conversation.")
    messages: list[Message] = Field(min_length=1, json_schema_extra={"items": _USER_MESSAGE})
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: str | None = None  # noqa: N815 - as the AI SDK has it
    confirm: Confirm | None = None
    attributes: dict[str, JsonValue] = Field(default_factory=dict)

    def turn(self, *, keyed: bool) -> TurnIn | ConfirmIn:
        """What the user said; ``keyed`` requests get their turn id from the key. Raises Problem."""
        last = self.messages[-1]
        for message in self.messages:
            if message.role == "user":
                message.text()
        told: dict[str, Any] = {"stream": True, "attributes": self.attributes}
        if self.confirm is not None:
            word = self.confirm
            turn_id = f"{_short(word.action_id)}~{'yes' if word.accept else 'no'}"
            return ConfirmIn(
                action_id=word.action_id,
                accept=word.accept,
                turn_id=None if keyed else self._said_id() or turn_id,
                **told,
            )
        if last.role != "user":
            raise Problem(400, "messages: the last one is not the user's, so nothing was said")
        return TurnIn(text=last.text(), turn_id=None if keyed else self._said_id(), **told)

    def answer_id(self, turn_id: str) -> str:
        """Of the message that will hold the answer: the last one, where it is the assistant's and goes on."""
        last = self.messages[-1]
        return last.id if last.role == "assistant" and last.id else answer_id(turn_id)

    def _said_id(self) -> str | None:
        """The turn id of the last message, always the same of the same words; None where it has none."""
        last = self.messages[-1]
        if last.role != "user" or not last.id:
            return None
        if self.trigger == "regenerate-message" and self.confirm is None:
            # The same words are to be answered once more: that is another turn.
            return f"{_short(last.id)}~{secrets.token_hex(6)}"
        if self.messageId == last.id:
            # The user has mended the message in its place.
            return f"{_short(last.id)}~{_digest(last.text())}"
        return last.id if len(last.id) <= _MOST_ID else _short(last.id)


def answer_id(turn_id: str) -> str:
    """Of the message that holds a turn's answer, for whoever asks for it."""
    return f"{turn_id}~answer"


def _short(name: str) -> str:
    """The name, or another for it, with room for more after it."""
    return name if len(name) <= _MOST_ID - 32 else _digest(name)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
