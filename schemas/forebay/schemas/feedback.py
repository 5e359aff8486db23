"""Feedback: a customer's word on a reply, as it is on ``chat.feedback``."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .turn import Identifier

MAX_FEEDBACK = 2_000
"""Maximum length of the words beside a rating, in characters."""


class Feedback(BaseModel):
    """A rating of one turn's reply. The last one of a turn counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    conversation_id: Identifier
    turn_id: Identifier
    rating: Literal[1, -1]
    text: str = Field(default="", max_length=MAX_FEEDBACK)
    user_id: str | None = None
    at: AwareDatetime | None = Field(default=None, description="When (RFC 3339); null is the record's own time.")
