"""A handler answers the records that the engine carries. The engine knows nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .inbound import InboundRecord
from .permit import Permit
from .publication import Publication

SendDelta = Callable[[bytes, bytes], None]
"""Publishes a fragment of a reply, (key, value). A lost one is not missed, for the reply itself has the whole text."""


class Handler(Protocol):
    """Answers records, several at once; those of one lane one after the other."""

    async def answer(self, inbound: InboundRecord, permit: Permit) -> Publication:
        """What is to be published for one record. Must not raise for what the record says."""

    def ready(self) -> str | None:
        """Why no turn can be answered now, or None."""

    def permits(self) -> int:
        """How many turns may be answered at once, as far as the models are concerned."""

    async def close(self) -> None:
        """Called once, after the last turn."""
