"""What the gateway takes and gives as JSON, beside the turns and replies of the topics."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from forebay.schemas import MAX_TEXT, Priority, Reply
from forebay.schemas.turn import Identifier

from .problem import Problem

MAX_WAIT_S = 120.0

Body = TypeVar("Body", bound=BaseModel)


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


class TurnIn(_Sent):
    """What a user said."""

    text: str = Field(min_length=1, max_length=MAX_TEXT)


class ConfirmIn(_Sent):
    """The user's word on a pending action."""

    action_id: Identifier
    accept: bool


class PlaceOut(BaseModel):
    """Where a turn is that has not begun."""

    ahead: int = Field(ge=0, description="Turns before it.")
    estimated_wait_s: float | None = Field(description="Seconds until it begins; null while nothing is measured.")


class TurnOut(BaseModel):
    """How a turn stands."""

    turn_id: str
    conversation_id: str
    status: Literal["queued", "started", "done"]
    stream: bool | None = Field(default=None, description="Whether fragments will come; of a turn just accepted.")
    place: PlaceOut | None = None
    event_id: str | None = Field(default=None, description="Events from here on miss nothing of a turn just accepted.")
    reply: Reply | None = None


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


def parse(kind: type[Body], body: bytes) -> Body:
    """Reads a body. Raises Problem with what is wrong, and where."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the body"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Problem(400, f"{where}: {first['msg']}{more}") from None
