"""A cancellation: a frontend's word that a turn is no longer wanted, as it is on ``chat.cancellations``."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .turn import Identifier


class Cancellation(BaseModel):
    """Takes a turn back. What comes too late, or from another than the turn's own user, changes nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    conversation_id: Identifier
    turn_id: Identifier
    user_id: str | None = Field(default=None, description="Who takes it back; null is a server, which may always.")
    at: AwareDatetime | None = Field(default=None, description="When (RFC 3339); null is the record's own time.")
