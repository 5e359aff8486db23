"""An operator's command to workers, as it is on ``chat.commands``; the key is a worker id, or ``*`` for all."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from .turn import Identifier

EVERYBODY = "*"
"""The key of a command to all workers."""


class Command(BaseModel):
    """What a worker has to do. Obeying a command twice is harmless.

    A worker that starts obeys the pauses that are still on the topic, so that one that was started meanwhile does not
    work against them; it never obeys a `drain` that is older than itself.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    command_id: str = Field(min_length=1, max_length=128)
    command: Literal["pause", "resume", "drain", "erase"] = Field(
        description="`pause` or `resume` intake; `drain` finishes what is in flight and leaves; `erase` lets go of what is "
        "held in memory of an erased conversation, and is obeyed by gateways too."
    )
    partition: int | None = Field(default=None, ge=0, description="Only this partition; of `pause` and `resume`.")
    conversation_id: Identifier | None = Field(default=None, description="The erased conversation; of `erase` only.")
    issued_by: str = Field(default="", max_length=256, description="Who said so, for the audit.")
    issued_at: AwareDatetime

    @model_validator(mode="after")
    def _drains_whole_workers(self) -> Self:
        if self.command == "drain" and self.partition is not None:
            raise ValueError("drain takes no partition: a worker leaves with all of its own")
        return self

    @model_validator(mode="after")
    def _erases_a_conversation(self) -> Self:
        if (self.command == "erase") != (self.conversation_id is not None):
            raise ValueError("conversation_id goes with erase, and only with it")
        return self
