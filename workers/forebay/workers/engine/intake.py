"""Intake: polls turns, for which it joins the group. Only this file, `rebalances` and `commits` use the consumer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from forebay.producers.unreadable_record import UnreadableRecordError, one_by_one
from forebay.schemas import Cluster
from forebay.workers import metrics

from .closing import close_within_bounds
from .commits import Commits
from .inbound import InboundRecord
from .ledger import Ledger
from .partitions import Partitions
from .pauses import Pauses
from .probe import Probe
from .rebalances import Rebalances
from .source import Source

log = structlog.get_logger()

_METADATA_MS = 30_000
"""How soon a topic that was deleted and made anew is noticed."""
_STEP = 100
"""Turns to take one by one around a record that cannot be read."""
_SINGLE_MS = 1_000
"""How long to wait for each of them."""


@dataclass(frozen=True, slots=True)
class IntakeTuning:
    """How the consumer behaves in its group."""

    session_timeout_ms: int = 6_000
    """A killed worker's turns wait this long for another; the least that brokers allow by default."""
    heartbeat_interval_ms: int = 500
    """A rebalance takes about one of these: members learn of it from their heartbeat."""
    rebalance_timeout_ms: int = 30_000
    fetch_max_wait_ms: int = 250
    max_partition_fetch_bytes: int = 256 * 1024
    fetch_max_bytes: int = 4 * 1024 * 1024
    """Bounds what aiokafka holds of a backlog: the next fetch waits until this one was polled."""
    probe_s: float = 5.0
    """Between two questions to Kafka whether it is there and counts us among the group's members."""


class Intake:
    """This worker's membership in its group: what it polls, commits and is assigned."""

    def __init__(
        self,
        cluster: Cluster,
        source: Source,
        group: str,
        client_id: str,
        *,
        most_held: int,
        pauses: Pauses,
        before_revoke: Callable[[], Awaitable[None]],
        after_rebalance: Callable[[set[int]], None],
        tuning: IntakeTuning = IntakeTuning(),
    ) -> None:
        """``most_held`` bounds the turns polled and not done. Nothing is taken of a partition while it is in ``pauses``.
        ``before_revoke`` is awaited before partitions are given up; ``after_rebalance`` is told which ones went for good.
        """
        self._topic = source.topic
        self._consumer = _consumer(cluster, group, client_id, tuning)
        self._admin = AIOKafkaAdminClient(client_id=client_id, **cluster.connection())
        self._partitions = Partitions(source, most_held, pauses)
        self.commits = Commits(self._consumer, self._partitions)
        self.rebalances = Rebalances(
            self._consumer,
            self._admin,
            group,
            self._partitions,
            self.commits,
            before=before_revoke,
            after=after_rebalance,
        )
        self.probe = Probe(self._admin, self._topic, group, client_id, self.rebalances, tuning.probe_s)
        self.polled_at = time.monotonic()
        """When it polled last, on that clock."""

    @property
    def partitions(self) -> list[int]:
        """Partitions owned and restored."""
        return sorted(partition.partition for partition in self._partitions.owned)

    @property
    def ledgers(self) -> dict[int, Ledger]:
        """Progress by partition; during a rebalance that of the partitions owned before."""
        return {partition.partition: ledger for partition, ledger in self._partitions.ledgers.items()}

    @property
    def held(self) -> int:
        """Turns polled and not done."""
        return self._partitions.held

    async def start(self) -> None:
        """Joins the group. Raises KafkaError when the cluster cannot be reached."""
        await self._admin.start()
        await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=self.rebalances)
        self.rebalances.joining()

    async def stop(self) -> None:
        """Commits what is done and leaves the group, so that others take over at once."""
        await self.commits.commit()
        self.rebalances.stop()
        await close_within_bounds(self._consumer.stop(), "consumer")
        await close_within_bounds(self._admin.close(), "admin")

    async def poll(self, room: int, timeout_s: float) -> list[InboundRecord]:
        """At most ``room`` new turns, waiting up to ``timeout_s`` for the first.

        With no room it still polls, on paused partitions: a consumer that does not poll is put out of its group.
        """
        self.polled_at = time.monotonic()
        self._pause_and_resume(crowded=room <= 0)
        self._partitions.begin_poll()
        try:
            batches = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max(1, room))
        except NoOffsetForPartitionError:
            return []  # a partition that was just assigned: it gets its position when its map was read back
        except OffsetOutOfRangeError as error:
            await self._reposition(error.args[0])
            return []
        except UnicodeDecodeError:
            return await self._poll_singly()
        return [turn for partition, records in batches.items() for turn in self._take(partition, records)]

    def can_put_back(self, turn: InboundRecord) -> bool:
        """Whether Kafka still has this turn at the place where it was polled."""
        return self._partitions.can_put_back(turn)

    def put_back(self, turns: Iterable[InboundRecord]) -> None:
        """Leaves turns that have not begun to Kafka, to be polled again; ask `can_put_back` for each."""
        for partition, position in self._partitions.put_back(turns).items():
            self._consumer.seek(partition, position)

    def _take(self, partition: TopicPartition, records: list[ConsumerRecord]) -> list[InboundRecord]:
        partitions = self._partitions
        if partition not in partitions.owned:
            return []
        if partitions.withheld(partition):
            self._consumer.seek(partition, partitions.ledgers[partition].position)
            return []
        return partitions.take(partition, records)

    async def _poll_singly(self) -> list[InboundRecord]:
        """Polls record by record, around one that cannot be read.

        That one is held where it is, aloud, until an operator steps over it: skipping its batch would lose readable turns.
        """
        turns: list[InboundRecord] = []
        partitions = self._partitions
        partitions.begin_poll()
        for partition in partitions.owned:
            # What the failed poll had already taken off the other partitions is read once more.
            self._consumer.seek(partition, partitions.ledgers[partition].position)
        for partition in partitions.open():
            try:
                await self._take_singly(partition, turns)
            except UnreadableRecordError as error:
                self._hold(error)
                break
        # A pause that came meanwhile found these in no lane.
        late = [turn for turn in turns if partitions.withheld_turn(turn) and partitions.can_put_back(turn)]
        self.put_back(late)
        return [turn for turn in turns if turn not in late]

    async def _take_singly(self, partition: TopicPartition, turns: list[InboundRecord]) -> None:
        """Adds turns of this partition, up to `_STEP` in all. Raises UnreadableRecordError."""
        ledger, withheld = self._partitions.ledgers.get(partition), self._partitions.withheld
        if ledger is None or len(turns) >= _STEP or withheld(partition):
            return
        offsets = range(ledger.position, ledger.position + _STEP)
        async with aclosing(one_by_one(self._consumer, partition, offsets, _SINGLE_MS)) as records:
            async for record in records:
                turns += self._take(partition, [record])
                if len(turns) >= _STEP or withheld(partition):
                    return

    def _hold(self, unreadable: UnreadableRecordError) -> None:
        """Takes nothing more of its partition."""
        partition = unreadable.partition
        if (ledger := self._partitions.ledgers.get(partition)) is None:
            return  # a rebalance took it meanwhile
        self._partitions.unreadable.add(partition)
        self._consumer.seek(partition, ledger.position)
        metrics.UNREADABLE.inc()
        log.error(
            "partition.unreadable",
            partition=partition.partition,
            offset=unreadable.offset,
            error=str(unreadable),
            fix="set the group's offset of this partition behind that record's batch, then restart the worker",
        )

    async def _reposition(self, positions: dict[TopicPartition, int]) -> None:
        """The log no longer has where we stood: retention deleted it, or the topic was made anew."""
        starts = await self._consumer.beginning_offsets(list(positions))
        for partition, position in positions.items():
            log.error(
                "position.lost",
                partition=partition.partition,
                position=position,
                start=starts[partition],
                fix="turns were deleted before they were answered: raise the topic's retention",
            )
            self._partitions.ledgers[partition] = Ledger(starts[partition])
            self._consumer.seek(partition, starts[partition])

    def _pause_and_resume(self, *, crowded: bool) -> None:
        """Pauses the partitions that may take nothing more now, and resumes those that may again."""
        owned, closed = self._partitions.owned, self._partitions.closed()
        wanted = owned if crowded else closed
        paused = self._consumer.paused() & owned
        self._consumer.pause(*(wanted - paused))
        self._consumer.resume(*(paused - wanted))


def _consumer(cluster: Cluster, group: str, client_id: str, tuning: IntakeTuning) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        group_id=group,
        client_id=client_id,
        enable_auto_commit=False,
        auto_offset_reset="none",  # what to do when there is no position is decided here, aloud
        partition_assignment_strategy=(StickyPartitionAssignor,),
        session_timeout_ms=tuning.session_timeout_ms,
        heartbeat_interval_ms=tuning.heartbeat_interval_ms,
        rebalance_timeout_ms=tuning.rebalance_timeout_ms,
        fetch_max_wait_ms=tuning.fetch_max_wait_ms,
        max_partition_fetch_bytes=tuning.max_partition_fetch_bytes,
        fetch_max_bytes=tuning.fetch_max_bytes,
        metadata_max_age_ms=_METADATA_MS,
        **cluster.connection(),
    )
