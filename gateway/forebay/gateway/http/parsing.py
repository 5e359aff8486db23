"""Reads requests: who calls, which conversation, which turn."""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from forebay.schemas import Confirm, Headers, Turn, new_id
from forebay.schemas.headers import CLOUDEVENTS_PREFIX, TRACEPARENT, TRACESTATE

from .access import Access, Caller, Unauthorised
from .messages import MAX_WAIT_S, ConfirmIn, TurnIn
from .problem import Problem

_TURN_NAMESPACE = uuid.UUID("6f2ae2a7-8c62-5d5b-9f0e-1d7d8d6b6c11")
"""Namespace of turn ids that are made from idempotency keys: every gateway makes the same id."""
_MOST_HEADER = 1024
_SECONDS = re.compile("[0-9]{1,3}")

Body = TypeVar("Body", bound=BaseModel)


def caller_of(request: web.Request, access: Access) -> Caller:
    """The caller. Raises Problem."""
    by_url = False
    scheme, _, brought = request.headers.get("Authorization", "").partition(" ")
    if scheme and scheme.lower() != "bearer":
        raise Problem(401, "Authorization takes Bearer only")
    if not brought:
        brought, by_url = request.query.get("access_token", ""), True
    if not brought:
        protocols = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        brought = next((name.strip()[7:] for name in protocols if name.strip().startswith("bearer.")), "")
    try:
        return access.caller(brought.strip() or None, by_url=by_url)
    except Unauthorised as error:
        raise Problem(401, str(error)) from None


def conversation_of(request: web.Request, caller: Caller) -> str:
    """The conversation in the path, which this caller may open. Raises Problem."""
    return opened(checked_id(request.match_info["conversation_id"], "the conversation's id"), caller)


def opened(conversation: str, caller: Caller) -> str:
    """The conversation, which this caller may open. Raises Problem."""
    if not caller.may_open(conversation):
        raise Problem(403, "this token is not for this conversation")
    return conversation


def checked_id(text: str, what: str) -> str:
    """The id, which has 1 to 128 characters. Raises Problem."""
    if not 0 < len(text) <= 128 or not _encodable(text):
        raise Problem(400, f"{what} has 1 to 128 characters")
    return text


async def body_of(request: web.Request, patience_s: float) -> bytes:
    """The body, which is JSON and comes in time. Raises Problem."""
    if request.content_type != "application/json":
        raise Problem(415, "send Content-Type: application/json")
    try:
        if request.content.is_eof():
            return await request.read()  # it came with the head, as most do
        async with asyncio.timeout(patience_s):
            return await request.read()
    except TimeoutError:
        raise Problem(408, f"the body did not come within {patience_s:g} s") from None
    except web.RequestPayloadError as error:
        raise Problem(400, f"the body cannot be read: {str(error).splitlines()[-1].strip()}") from None


def parse(kind: type[Body], body: bytes) -> Body:
    """Reads a body. Raises Problem that says what is wrong, and where."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        where, message = first_error(error)
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Problem(400, f"{where or 'the body'}: {message}{more}") from None


def first_error(error: ValidationError) -> tuple[str, str]:
    """(path of the field, what is wrong with it) of the first error; the path is empty for the body as a whole."""
    first: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(map(str, first["loc"])), first["msg"]


def wait_of(request: web.Request, wait: float) -> float:
    """Seconds to wait for the reply: from the body, `?wait=30` or `Prefer: wait=30` (RFC 7240). Raises Problem."""
    if (asked := request.query.get("wait")) is not None:
        if not _SECONDS.fullmatch(asked) or float(asked) > MAX_WAIT_S:
            raise Problem(400, f"wait: seconds, {MAX_WAIT_S:g} at most")
        return max(wait, float(asked))
    for preference in request.headers.get("Prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait" and value.isascii() and value.isdigit():
            return max(wait, min(float(value[:6]), MAX_WAIT_S))
    return wait


def turn_of(sent: TurnIn | ConfirmIn, caller: Caller, conversation: str, idempotency_key: str | None = None) -> Turn:
    """The turn that this caller sends. Raises Problem where it claims what it may not."""
    user_id, tenant = sent.user_id, sent.tenant
    made_id = turn_id_of(conversation, idempotency_key)
    if not caller.server:
        for claim, own, name in ((caller.user_id, user_id, "user_id"), (caller.tenant, tenant, "tenant")):
            if own is not None and own != claim:
                raise Problem(403, f"{name}: a customer's is what the token says")
        if sent.priority == "high":
            raise Problem(403, "priority: high is for servers with an API key")
        tenant = caller.tenant
    user_id = user_id or caller.user_id
    fields: dict[str, Any] = {
        "turn_id": sent.turn_id or made_id,
        "conversation_id": conversation,
        "sent_at": datetime.now(UTC),
        "text": sent.text if isinstance(sent, TurnIn) else None,
        "confirm": Confirm(action_id=sent.action_id, accept=sent.accept) if isinstance(sent, ConfirmIn) else None,
        "user_id": user_id,
        "tenant": tenant,
        "expires_at": sent.expires_at,
        "priority": None if sent.priority == "normal" else sent.priority,
        "stream": sent.stream or None,
        "when_busy": sent.when_busy if isinstance(sent, TurnIn) else None,
        "attributes": sent.attributes or None,
    }
    # Every field was validated as part of what was sent.
    return Turn.model_construct(**{name: value for name, value in fields.items() if value is not None})


def turn_id_of(conversation: str, idempotency_key: str | None) -> str:
    """The same id for the same key in the same conversation; without a key a new one. Raises Problem."""
    if idempotency_key is None:
        return new_id()
    if not 0 < len(idempotency_key) <= 255 or not _encodable(idempotency_key):
        raise Problem(400, "Idempotency-Key has 1 to 255 characters")
    return str(uuid.uuid5(_TURN_NAMESPACE, f"{len(conversation)}:{conversation}:{idempotency_key}"))


def carried_headers(request: web.Request) -> Headers:
    """Headers that travel on to the reply: trace context and CloudEvents attributes (``ce-`` in HTTP, ``ce_`` in Kafka)."""
    return tuple(
        (name.replace("ce-", CLOUDEVENTS_PREFIX, 1), value.encode())
        for name, value in ((name.lower(), value) for name, value in request.headers.items())
        if (name in (TRACEPARENT, TRACESTATE) or name.startswith("ce-"))
        and len(value) <= _MOST_HEADER
        and _encodable(value)
    )


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
