"""A request of the AI SDK's `useChat`: its conversation, its turn, and the id of the message with the answer."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.config import JsonDict

from forebay.gateway.http.messages import ConfirmIn, TurnIn
from forebay.gateway.http.problem import Problem
from forebay.gateway.settings import OnDisconnect
from forebay.schemas import MAX_TEXT, WhenBusy
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


class UiPart(BaseModel):
    """A part of a message; only text is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    type: str
    text: str | None = None


class UiMessage(BaseModel):
    """A message of the page; only the text of the user's last one is sent."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: str = ""
    role: Literal["system", "user", "assistant"]
    parts: list[UiPart] = Field(default_factory=list)

    def text(self) -> str:
        """Its text. Raises Problem."""
        if any(part.type == "file" for part in self.parts):
            raise Problem(400, "parts: files are not taken; say in words what is meant")
        text = "\n".join(part.text for part in self.parts if part.type == "text" and part.text is not None)
        if not 0 < len(text) <= MAX_TEXT:
            raise Problem(400, f"the last message has 1 to {MAX_TEXT:,} characters of text")
        return text


class UiConfirm(BaseModel):
    """The user's answer to a pending action."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    action_id: Identifier
    accept: bool


class UiChatIn(BaseModel):
    """The body that DefaultChatTransport sends, with what `sendMessage`'s `body` option adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    id: Identifier = Field(description="The chat's id: the conversation.")
    messages: list[UiMessage] = Field(min_length=1, json_schema_extra={"items": _USER_MESSAGE})
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: str | None = None  # noqa: N815 - as the AI SDK has it
    confirm: UiConfirm | None = None
    attributes: dict[str, JsonValue] = Field(default_factory=dict)
    when_busy: WhenBusy | None = None
    on_disconnect: OnDisconnect | None = Field(
        default=None, description="`cancel`: `stop()`, and a page that is left, takes the turn back."
    )

    def turn(self, *, keyed: bool) -> TurnIn | ConfirmIn:
        """The user's turn; ``keyed`` requests get their turn id from the idempotency key. Raises Problem."""
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
        said_id = None if keyed else self._said_id()
        return TurnIn(text=last.text(), turn_id=said_id, when_busy=self.when_busy, **told)

    def answer_id(self, turn_id: str) -> str:
        """Id of the message with the answer: the last message, if it is the assistant's and goes on."""
        last = self.messages[-1]
        return last.id if last.role == "assistant" and last.id else answer_id(turn_id)

    def _said_id(self) -> str | None:
        """Turn id from the last message, the same for the same words; None if the message has no id."""
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
    """Id of the message with a turn's answer, for any client."""
    return f"{turn_id}~answer"


def _short(name: str) -> str:
    """The name, or a digest of it if it is too long to add a suffix."""
    return name if len(name) <= _MOST_ID - 32 else _digest(name)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
