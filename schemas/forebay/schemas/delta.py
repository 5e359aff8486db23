"""A delta: a fragment of a streamed reply, as it is on ``chat.deltas``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from .turn import Identifier


class Delta(BaseModel):
    """One fragment. Deltas are a preview while the user waits: the final reply always has the whole text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    turn_id: Identifier
    conversation_id: Identifier
    sequence: int = Field(ge=0, description="Counts from 0 within a turn.")
    text: str
    restart: bool = Field(default=False, description="Drop what was shown of this turn so far.")
