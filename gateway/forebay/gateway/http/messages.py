"""JSON bodies of requests and responses, where they differ from the turns and replies of the topics."""

from __future__ import annotations

from typing import Literal

import orjson
from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from forebay.gateway.settings import OnDisconnect
from forebay.schemas import MAX_FEEDBACK, MAX_TEXT, Priority, Reply, WhenBusy
from forebay.schemas.feedback import Rating
from forebay.schemas.turn import Identifier

MAX_WAIT_S = 120.0


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    turn_id: Identifier | None = Field(default=None, description="Yours; the gateway makes one where it is missing.")
    stream: bool = Field(default=False, description="Whether `delta` events are wanted.")
    wait: float = Field(default=0.0, ge=0, le=MAX_WAIT_S, description="Seconds to wait for the reply.")
    user_id: str | None = Field(default=None, max_length=256, description="Who speaks; of servers with an API key.")
    tenant: str | None = Field(default=None, max_length=256, description="Of servers with an API key.")
    priority: Priority = Field(default="normal", description="`high` is for servers with an API key.")
    expires_at: AwareDatetime | None = Field(
        default=None, description="RFC 3339; else the workers' time to live counts."
    )
    attributes: dict[str, JsonValue] = Field(default_factory=dict, description="Carried to the assistant.")
    on_disconnect: OnDisconnect | None = Field(
        default=None, description="With `wait`: whether a client that leaves takes its turn back."
    )


class TurnIn(_Sent):
    """A turn of a user."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    when_busy: WhenBusy | None = Field(
        default=None,
        description="While the conversation has an unfinished turn: `enqueue` waits and is answered alone; `merge` is"
        " answered together with the user's other turns that wait; `interrupt` also ends the answer under way; `reject`"
        " fails. Without it the assistant's own rule.",
    )


class ConfirmIn(_Sent):
    """The user's answer to a pending action."""

    action_id: Identifier
    accept: bool


class FeedbackIn(BaseModel):
    """A customer's word on a reply."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    rating: Rating
    text: str = Field(default="", max_length=MAX_FEEDBACK)
    user_id: str | None = Field(default=None, max_length=256, description="Who rates; of servers with an API key.")


class PersonMessageIn(BaseModel):
    """What a person of the shop writes to the customer."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    name: str = Field(default="", max_length=128, description="The person's name, as the customer is shown it.")
    message_id: Identifier | None = Field(
        default=None, description="Yours; the gateway makes one where it is missing. Sent again it is one message."
    )


class PlaceOut(BaseModel):
    """Place in the queue of a turn that has not begun."""

    ahead: int = Field(ge=0, description="Turns before it.")
    estimated_wait_s: float | None = Field(description="Seconds until it begins; null while nothing is measured.")


class TurnOut(BaseModel):
    """State of a turn."""

    turn_id: str
    conversation_id: str
    status: Literal["queued", "started", "cancelling", "done"]
    stream: bool | None = Field(default=None, description="Whether fragments will come; of a turn just accepted.")
    place: PlaceOut | None = None
    event_id: str | None = Field(default=None, description="Events from here on miss nothing of a turn just accepted.")
    reply: Reply | None = None
    answer: Reply | None = Field(
        default=None, description="Of a merged turn: the reply of the turn it was merged into, once it is known."
    )


class ProblemOut(BaseModel):
    """Why a request was not served (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable.")
    detail: str
    retry_after_s: float | None = None
    estimated_wait_s: float | None = None
    turn_id: str | None = None


def json_response(data: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A response with a JSON body."""
    return web.Response(status=status, body=orjson.dumps(data), content_type="application/json", headers=headers)
