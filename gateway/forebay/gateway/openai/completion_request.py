"""A request of OpenAI's Chat Completions: its conversation, its words, and parameters that this gateway does not support."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from forebay.gateway.http.access import Caller
from forebay.gateway.http.parsing import checked_id, first_error, opened
from forebay.gateway.http.problem import Problem
from forebay.gateway.settings import OnDisconnect
from forebay.schemas import MAX_TEXT, WhenBusy, new_id

_CONVERSATIONS = uuid.UUID("0c4dc7de-2f3f-5c39-9a0e-6d1b6f0b53a1")
"""Namespace of conversation ids that are made from idempotency keys."""

_UNSUPPORTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "n": (lambda value: value == 1, "one choice only"),
    "tools": (lambda value: value == [], "the assistant behind this gateway has its own tools"),
    "functions": (lambda value: value == [], "the assistant behind this gateway has its own tools"),
    "logprobs": (lambda value: value is False, "log probabilities are not kept"),
    "top_logprobs": (lambda value: value == 0, "log probabilities are not kept"),
    "response_format": (lambda value: isinstance(value, dict) and value.get("type") == "text", "replies are text"),
    "modalities": (lambda value: value == ["text"], "replies are text"),
    "audio": (lambda value: False, "replies are text"),
    "web_search_options": (lambda value: False, "the assistant behind this gateway has its own tools"),
}
"""Parameters that would change the answer: which values are harmless, and why others are refused."""


_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_USER_MESSAGE: JsonDict = {
    "type": "object",
    "description": "A message as OpenAI has it; of the others only the last one with role `user` is read.",
    "required": ["role", "content"],
    "properties": {
        "role": {"const": "user"},
        "content": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
    },
}


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    include_usage: bool | None = None


class ChatIn(BaseModel):
    """The body. Parameters that only tune a model are ignored: the assistant has its own."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    messages: list[dict[str, Any]] = Field(min_length=1, json_schema_extra={"items": _USER_MESSAGE})
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, min_length=1, max_length=128)
    when_busy: WhenBusy | None = Field(
        default=None, description="Not of OpenAI: as of a turn; send it in `extra_body`."
    )
    on_disconnect: OnDisconnect | None = Field(default=None, description="The same: as the header says it.")

    @classmethod
    def of(cls, body: bytes) -> ChatIn:
        """Reads the body. Raises Problem."""
        try:
            sent = cls.model_validate_json(body)
        except ValidationError as error:
            where, wrong = first_error(error)
            raise Problem(400, f"{where or 'the body'}: {wrong}", param=where or None) from None
        for at, message in enumerate(sent.messages):
            if not isinstance(message.get("role"), str) or message["role"] not in _ROLES:
                raise Problem(
                    400, f"messages.{at}.role: one of {', '.join(sorted(_ROLES))}", param=f"messages.{at}.role"
                )
            if message["role"] == "user":
                _text(message.get("content"), f"messages.{at}.content")
        for name, value in (sent.model_extra or {}).items():
            harmless, why = _UNSUPPORTED.get(name, (None, ""))
            if harmless is not None and value is not None and not harmless(value):
                raise Problem(400, f"{name}: {why}; leave it out", code="unsupported_value", param=name)
        return sent

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def text(self) -> str:
        """The last message of the user; earlier ones are in the conversation already. Raises Problem."""
        for at in range(len(self.messages) - 1, -1, -1):
            if self.messages[at].get("role") == "user":
                return _text(self.messages[at].get("content"), f"messages.{at}.content")
        raise Problem(400, "messages: there is none with role user", param="messages")


def _text(content: object, where: str) -> str:
    text = content if isinstance(content, str) else _joined(content, where)
    if not 0 < len(text) <= MAX_TEXT:
        raise Problem(400, f"{where}: 1 to {MAX_TEXT:,} characters", param=where)
    return text


def _joined(content: object, where: str) -> str:
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise Problem(400, f"{where}: a string, or a list of parts", param=where)
    for at, part in enumerate(content):
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise Problem(
                400,
                f'{where}.{at}: only parts {{"type": "text", "text": "..."}} are taken: say in words what is meant',
                param=f"{where}.{at}",
            )
    return "\n".join(part["text"] for part in content)


def conversation_of(request: web.Request, sent: ChatIn, caller: Caller) -> tuple[str, bool]:
    """(conversation, whether the client can name it again). Raises Problem.

    Named by the header, else the only one that the token opens, else by the `user` field; else a new one.
    """
    named = request.headers.get("X-Conversation-Id")
    only = caller.conversations[0] if len(caller.conversations) == 1 and not caller.server else None
    if named is None:
        named = only if only is not None and not only.endswith("*") else sent.user
    if named is not None:
        checked_id(named, "the conversation's id (X-Conversation-Id, or the `user` field)")
        return opened(named, caller), True
    if any(message.get("role") == "assistant" for message in sent.messages):
        raise Problem(
            400,
            "which conversation goes on here? Name it by the header X-Conversation-Id or the `user` field: earlier "
            "messages are kept with the conversation, not taken from `messages`",
            param="user",
        )
    key = request.headers.get("Idempotency-Key")
    fresh = new_id() if key is None else str(uuid.uuid5(_CONVERSATIONS, f"{len(caller.name)}:{caller.name}:{key}"))
    fresh = only[:-1] + fresh if only is not None else fresh
    if not caller.may_open(fresh) or len(fresh) > 128:
        raise Problem(403, "this token opens no new conversation: name one of its own by X-Conversation-Id")
    return fresh, key is not None
