"""A hand-off: a conversation that a person takes over, as it is on ``chat.handoffs``."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .turn import Identifier


class Said(BaseModel):
    """One message of the transcript."""

    model_config = ConfigDict(frozen=True)

    role: Literal["user", "assistant", "person"]
    text: str


class Handoff(BaseModel):
    """What the person who takes over needs to know. A repeat after a crash has the same `handoff_id`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    handoff_id: str = Field(description="The `reply_id` of the reply that told the user.")
    conversation_id: Identifier
    turn_id: Identifier
    user_id: str | None = None
    tenant: str | None = None
    reason: str = Field(description="Stable: the reason for which the turn would have failed, such as `over_budget`.")
    transcript: tuple[Said, ...] = Field(description="Oldest first; the last is what the user said now.")
    created_at: AwareDatetime
