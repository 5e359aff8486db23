"""A publication: what is published for one record, once its handler is done with it."""

from __future__ import annotations

from typing import NamedTuple

from forebay.schemas import Failure, Headers, Outcome


class Publication(NamedTuple):
    """A reply, for a failed turn the reason of its dead letter, for a person the transcript."""

    reply: bytes | None
    """None when nobody can be told: the record has no readable identity."""
    failure: Failure | None
    conversation_id: str
    """Key of the reply."""
    outcome: Outcome
    handoff: bytes | None = None
    headers: Headers = ()
    """Of the reply."""
