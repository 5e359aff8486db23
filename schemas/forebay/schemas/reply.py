"""A reply: the one final result of a turn, as it is on ``chat.replies``."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .turn import Identifier

Outcome = Literal["answered", "confirmation_required", "handed_off", "expired", "merged", "cancelled", "failed"]

CONVERSATION_BUSY = "conversation_busy"
"""Error code of a turn that was sent with ``"when_busy": "reject"`` while its conversation had an unfinished one."""


class Usage(BaseModel):
    """Tokens of all the model calls of one turn."""

    model_config = ConfigDict(frozen=True)

    input_tokens: int = Field(default=0, ge=0, description="Without those read from a prompt cache.")
    output_tokens: int = Field(default=0, ge=0)
    cache_read_tokens: int = Field(default=0, ge=0)


class Action(BaseModel):
    """An action that waits for the user's confirmation; nothing was executed yet."""

    model_config = ConfigDict(frozen=True)

    action_id: Identifier
    summary: str
    expires_at: AwareDatetime


class ReplyError(BaseModel):
    """Why a turn has no answer."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(description="Stable: `expired`, `conversation_busy`, or the reason of its dead letter.")
    message: str


class Reply(BaseModel):
    """The final reply of a turn. Published again after a crash it is byte-identical: drop repeats by `turn_id`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    turn_id: Identifier
    conversation_id: Identifier
    reply_id: str
    outcome: Outcome
    text: str = Field(description="For the user. Of `cancelled` what had been said by then, of `merged` nothing.")
    model: str | None = Field(default=None, description="The model that answered; null when none did.")
    route: str | None = Field(
        default=None, description="`faq`, `simple`, `complex`, `reasoning`, or a specialist's name."
    )
    finish_reason: str | None = Field(
        default=None, description="As the provider says it, such as `end_turn` or `stop`; of a hand-off, its reason."
    )
    usage: Usage = Usage()
    cost_usd: float | None = Field(default=0.0, ge=0, description="Null when the model's price is not known.")
    attempts: int = Field(default=0, ge=0, description="Model calls made, failed ones too.")
    queued_ms: float = Field(default=0.0, ge=0, description="From the record's timestamp to the start of its answer.")
    model_ms: float = Field(default=0.0, ge=0, description="Spent in model calls.")
    created_at: AwareDatetime
    merged_into: Identifier | None = Field(
        default=None, description="Of `merged`: the later turn whose reply has the answer to both."
    )
    action: Action | None = None
    error: ReplyError | None = None
