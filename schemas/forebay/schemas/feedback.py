"""Feedback: a customer's word on a reply, as it is on ``chat.feedback``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from .turn import Identifier

MAX_FEEDBACK = 2_000
"""Maximum length of the words beside a rating, in characters."""


def _number(rating: object) -> object:
    """``true`` equals 1 in Python, and is no rating."""
    if isinstance(rating, bool):
        raise ValueError("1 or -1")  # noqa: TRY004 - pydantic tells only ValueErrors
    return rating


Rating = Annotated[Literal[1, -1], BeforeValidator(_number)]


class Feedback(BaseModel):
    """A rating of one turn's reply. The last one of a turn counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    conversation_id: Identifier
    turn_id: Identifier
    rating: Rating
    text: str = Field(default="", max_length=MAX_FEEDBACK)
    user_id: str | None = None
    at: AwareDatetime | None = Field(default=None, description="When (RFC 3339); null is the record's own time.")
