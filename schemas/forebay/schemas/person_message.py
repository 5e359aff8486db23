"""A person's message: what somebody of the shop writes in a handed-off conversation, as it is on ``chat.messages``."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .turn import MAX_TEXT, Identifier


class PersonMessage(BaseModel):
    """Shown to the customer in order and remembered like an answer. A repeat has the same `message_id`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    message_id: Identifier = Field(description="Unique in its conversation; a UUIDv7 is advised.")
    conversation_id: Identifier
    name: str = Field(default="", max_length=128, description="The person's name, as the customer is shown it.")
    text: str = Field(min_length=1, max_length=MAX_TEXT)
    at: AwareDatetime | None = Field(default=None, description="When (RFC 3339); null is the record's own time.")
