"""The topics: names under one prefix, and the settings each is created with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

MAX_RECORD_BYTES = 1_048_588
"""Kafka's own default for ``max.message.bytes``: what ``chat.requests`` takes."""

MAX_DEAD_LETTER_BYTES = 16 * 1024 * 1024
"""The largest turn with the ``dlq.*`` headers still fits, also one whose producer compressed it better than we do: the
broker's limit is on compressed bytes.
"""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as `forebay topics apply` creates it."""

    name: str
    about: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """Kafka topic settings that differ from the broker's defaults."""
    partitions: int | None = None
    """A fixed number; None takes FOREBAY_TOPIC_PARTITIONS."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics under a prefix, ``chat`` by default."""

    prefix: str = "chat"

    @property
    def requests(self) -> str:
        """Chat turns, keyed by conversation id."""
        return f"{self.prefix}.requests"

    @property
    def replies(self) -> str:
        """The one final reply of each turn, keyed by conversation id."""
        return f"{self.prefix}.replies"

    @property
    def deltas(self) -> str:
        """Fragments of streamed replies, keyed by conversation id."""
        return f"{self.prefix}.deltas"

    @property
    def dead_letters(self) -> str:
        """Dead letters: records that got no answer, unchanged."""
        return f"{self.prefix}.requests.dlq"

    @property
    def reply_dead_letters(self) -> str:
        """Dead letters of webhooks: replies that could not be delivered, unchanged."""
        return f"{self.prefix}.replies.dlq"

    @property
    def handoffs(self) -> str:
        """Conversations handed to a person, keyed by conversation id."""
        return f"{self.prefix}.handoffs"

    @property
    def workers(self) -> str:
        """Each worker's state, keyed by worker id."""
        return f"{self.prefix}.workers"

    @property
    def commands(self) -> str:
        """Operators' commands to workers, keyed by worker id or ``*``."""
        return f"{self.prefix}.commands"

    @property
    def cancellations(self) -> str:
        """Turns that are no longer wanted, keyed by conversation id."""
        return f"{self.prefix}.cancellations"

    @property
    def messages(self) -> str:
        """What persons of the shop write to customers, keyed by conversation id."""
        return f"{self.prefix}.messages"

    @property
    def feedback(self) -> str:
        """Customers' words on replies, keyed by conversation id."""
        return f"{self.prefix}.feedback"

    def specs(self) -> tuple[TopicSpec, ...]:
        """Every topic with the settings it is created with."""
        return (
            TopicSpec(self.requests, "chat turns", {"retention.ms": str(7 * _DAY)}),
            TopicSpec(self.replies, "final replies", {"retention.ms": str(7 * _DAY)}),
            TopicSpec(
                self.deltas,
                "fragments of streamed replies",
                # Small segments, since Kafka only deletes whole ones that are not being written.
                {"retention.ms": str(10 * _MINUTE), "segment.ms": str(5 * _MINUTE)},
            ),
            TopicSpec(
                self.dead_letters,
                "dead letters",
                {"retention.ms": str(30 * _DAY), "max.message.bytes": str(MAX_DEAD_LETTER_BYTES)},
            ),
            TopicSpec(
                self.reply_dead_letters,
                "replies that no webhook could deliver",
                {"retention.ms": str(30 * _DAY), "max.message.bytes": str(MAX_DEAD_LETTER_BYTES)},
            ),
            TopicSpec(
                self.handoffs,
                "conversations handed to a person",
                {"retention.ms": str(7 * _DAY), "max.message.bytes": str(4 * MAX_RECORD_BYTES)},
            ),
            TopicSpec(
                self.workers,
                "state of the workers",
                # Deleted too: a worker that was killed leaves no tombstone, and its name never comes again.
                {
                    "cleanup.policy": "compact,delete",
                    "retention.ms": str(_HOUR),
                    "segment.ms": str(10 * _MINUTE),
                },
                partitions=1,
            ),
            TopicSpec(self.commands, "commands to the workers", {"retention.ms": str(_HOUR)}, partitions=1),
            TopicSpec(self.messages, "what persons write to customers", {"retention.ms": str(7 * _DAY)}),
            TopicSpec(self.feedback, "customers' words on replies", {"retention.ms": str(30 * _DAY)}),
            TopicSpec(
                self.cancellations,
                "turns that are no longer wanted",
                {"retention.ms": str(_HOUR), "segment.ms": str(10 * _MINUTE)},
            ),
        )
