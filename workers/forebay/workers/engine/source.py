"""A source: which records a worker carries, how they are read, and where those end that failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from forebay.schemas import Topics

from .inbound import InboundRecord, inbound_record
from .ledger import Ledger


@dataclass(frozen=True, slots=True)
class Source:
    """One keyed topic and what belongs to it."""

    topic: str
    read: Callable[[ConsumerRecord, Ledger], InboundRecord]
    """Must not raise: a record that cannot be read keeps its failure."""
    dead_letters: str
    """Topic of the records that failed for good."""
    publishes: tuple[str, ...] = ()
    """The other topics that its handler writes to."""
    turns: bool = False
    """Whether these are turns: then the worker is one of the fleet. It reports itself, obeys what all are told, and hears
    cancellations.
    """


def turns_of(topics: Topics) -> Source:
    """Chat turns."""
    publishes = (topics.replies, topics.deltas, topics.handoffs)
    return Source(topics.requests, inbound_record, topics.dead_letters, publishes, turns=True)
