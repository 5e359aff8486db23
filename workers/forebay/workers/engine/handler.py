"""A handler answers the records that the engine carries. The engine knows nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from forebay.schemas import WhenBusy

from .publication import Publication
from .turn_group import TurnGroup

SendDelta = Callable[[bytes, bytes], None]
"""Publishes a fragment of a reply, (key, value). A lost one is not missed, for the reply itself has the whole text."""


class Handler(Protocol):
    """Answers records, several at once; those of one lane one after the other."""

    @property
    def when_busy(self) -> WhenBusy:
        """What a turn does that does not say so itself and finds its conversation busy."""

    async def answer(self, group: TurnGroup) -> Sequence[Publication]:
        """What is to be published for each of the group's turns, in their order. Must not raise for what a record says."""

    def ready(self) -> str | None:
        """Why no turn can be answered now, or None."""

    def permits(self) -> int:
        """How many turns may be answered at once, as far as the models are concerned."""

    def drop(self, conversation_id: str) -> None:
        """Holds nothing in memory of this conversation, which was erased."""

    async def close(self) -> None:
        """Called once, after the last turn."""
