"""Partitions: how far the work on each partition of this worker has come. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from forebay.schemas.completion import MAX_METADATA

from .inbound import InboundRecord
from .ledger import CommitPoint, Ledger
from .pauses import Pauses
from .source import Source

log = structlog.get_logger()

_FULL = 0.75
"""Share of the commit metadata after which a partition takes no new turns until old ones are done."""


class Reassigned(NamedTuple):
    """What a rebalance has changed."""

    kept: set[TopicPartition]
    lost: set[TopicPartition]
    gained: set[TopicPartition]


class Partitions:
    """One ledger for each partition, and which of them may be polled."""

    def __init__(self, source: Source, most_held: int, pauses: Pauses) -> None:
        """``most_held`` bounds the turns polled and not done. Each partition has an equal share of it, so that a flood in
        one does not stop the others.
        """
        self._topic, self._read = source.topic, source.read
        self._most_held = most_held
        self._pauses = pauses
        self.ledgers: dict[TopicPartition, Ledger] = {}
        """Progress of each partition; during a rebalance of those that were ours before it."""
        self.owned: set[TopicPartition] = set()
        """Those that are ours and whose completion map was read back."""
        self.unreadable: set[TopicPartition] = set()
        """Those that stand at a record which cannot be read."""
        self._committed: dict[TopicPartition, CommitPoint] = {}
        self._full: set[TopicPartition] = set()
        self._map_full: set[TopicPartition] = set()
        self._put_back: set[TopicPartition] = set()

    @property
    def held(self) -> int:
        """Turns polled and not done."""
        return sum(ledger.held for ledger in self.ledgers.values())

    # Polling

    def begin_poll(self) -> None:
        """What is polled from now on comes from behind what was put back."""
        self._put_back.clear()

    def withheld(self, partition: TopicPartition) -> bool:
        """Whether what the current poll brings was fetched before a pause, perhaps from beyond what was put back since."""
        return partition in self._put_back or self._pauses.paused(partition.partition)

    def withheld_turn(self, turn: InboundRecord) -> bool:
        """Whether the partition of this turn is withheld."""
        return self.withheld(self._place(turn))

    def take(self, partition: TopicPartition, records: Iterable[ConsumerRecord]) -> list[InboundRecord]:
        """Those of the records that need work."""
        ledger, read = self.ledgers[partition], self._read
        return [read(record, ledger) for record in records if ledger.polled(record.offset)]

    def open(self) -> set[TopicPartition]:
        """Those that had room for more turns at the last poll."""
        return self.owned - self._full

    def closed(self) -> set[TopicPartition]:
        """Those that may take nothing more now: they are full, unreadable, or paused by an operator."""
        share = self._most_held // max(1, len(self.owned))
        full = set()
        for partition in self.owned:
            bound = share * 9 // 10 if partition in self._full else share
            ledger = self.ledgers[partition]
            # What a restart or a pause left to be polled again takes no memory, and must come for anything to get better.
            map_full = partition in self._map_full and ledger.held == ledger.pending
            if map_full or partition in self.unreadable or ledger.held >= max(1, bound):
                full.add(partition)
        self._full = full
        return full | {partition for partition in self.owned if self._pauses.paused(partition.partition)}

    # Putting turns back

    def can_put_back(self, turn: InboundRecord) -> bool:
        """Whether Kafka still has this turn at the place where it was polled."""
        return self.ledgers.get(self._place(turn)) is turn.ledger

    def put_back(self, turns: Iterable[InboundRecord]) -> dict[TopicPartition, int]:
        """Takes note that these turns are to be polled again; returns where to poll from.

        A partition that is being rebalanced is not among them: the rebalance seeks to the same place.
        """
        offsets = defaultdict[TopicPartition, list[int]](list)
        for turn in turns:
            offsets[self._place(turn)].append(turn.offset)
        for partition, those in offsets.items():
            self.ledgers[partition].put_back(those)
            self._put_back.add(partition)
        return {partition: self.ledgers[partition].position for partition in offsets if partition in self.owned}

    def _place(self, turn: InboundRecord) -> TopicPartition:
        return TopicPartition(self._topic, turn.partition)

    # Commits

    def uncommitted(self) -> dict[TopicPartition, CommitPoint]:
        """What is to be committed: the progress of each partition that moved since its last commit."""
        points = {
            partition: point
            for partition, ledger in self.ledgers.items()
            if (point := ledger.commit_point()) != self._committed.get(partition)
        }
        self._mark_full(points)
        return points

    def committed(self, points: dict[TopicPartition, CommitPoint]) -> None:
        """Kafka has these."""
        self._committed.update(points)

    def _mark_full(self, points: dict[TopicPartition, CommitPoint]) -> None:
        """Notes the partitions whose completions would soon no longer fit beside their commit."""
        for partition, point in points.items():
            full = len(point.metadata) > _FULL * MAX_METADATA
            if full != (partition in self._map_full):
                log.info("partition.full" if full else "partition.open", partition=partition.partition)
                (self._map_full.add if full else self._map_full.discard)(partition)

    # Rebalances

    def reassign(self, assigned: set[TopicPartition]) -> Reassigned:
        """These are ours now. Those that were ours before keep their ledgers; new ones wait for `take_over`."""
        kept = assigned & self.ledgers.keys()
        lost = self.ledgers.keys() - assigned
        for partition in lost:
            del self.ledgers[partition]
            self._committed.pop(partition, None)
        self.owned, self._full, self._map_full, self.unreadable = set(kept), set(), set(), set()
        return Reassigned(kept, lost, assigned - kept)

    def take_over(self, partition: TopicPartition, ledger: Ledger, committed: CommitPoint | None) -> None:
        """A new partition may be polled; ``committed`` is what Kafka has of it, where that is where the ledger begins."""
        self.ledgers[partition] = ledger
        if committed is not None:
            self._committed[partition] = committed
        self.owned.add(partition)
