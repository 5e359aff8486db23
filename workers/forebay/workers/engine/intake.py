"""Intake: the only room that touches the consumer. It polls, owns the rebalances and commits.

aiokafka 0.14 rebalances eagerly: every partition is revoked, and one that comes straight back starts again at its
committed offset with its pause forgotten. So a partition that stays keeps its `Ledger` and is sought past what is
already here; one that is new is held until its completion map was read back; one that went takes its turns with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    for_code,
)

from forebay.producers.unreadable_record import UnreadableRecordError, one_by_one
from forebay.schemas import Cluster
from forebay.schemas.completion import MAX_METADATA
from forebay.workers import metrics

from .alarms import Lasting
from .commands import Pauses
from .inbound import InboundRecord, inbound_record
from .ledger import CommitPoint, Ledger

log = structlog.get_logger()

_FULL = 0.75
"""Share of the commit metadata after which a partition takes no new turns until old ones are done."""
_RETRY_S = 0.5
_METADATA_MS = 30_000
"""How soon a topic that was deleted and made anew is noticed."""
_ANSWER_S = 5.0
"""How long Kafka may take to answer before it counts as away, in seconds."""
_STEP = 100
"""Turns to take one by one around a record that cannot be read."""
_SINGLE_MS = 1_000
CLOSE_S = 5.0
"""How long to wait for a connection to close, in seconds."""


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


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]
    """Polls turns, keeps one ledger for each partition it owns, commits what is done."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        client_id: str,
        *,
        most_held: int,
        pauses: Pauses,
        before_revoke: Callable[[], Awaitable[None]],
        lost: Callable[[set[int]], None],
        tuning: IntakeTuning = IntakeTuning(),
    ) -> None:
        """``most_held`` bounds the turns polled and not done; each partition has an equal share of it, so that a flood
        in one does not stop the others. Nothing is taken of a partition while it is in ``pauses``. ``before_revoke`` is
        awaited before partitions are given up, bounded by its own patience; ``lost`` is told which ones went for good.
        """
        self._topic = cluster.topics.requests
        self._most_held = most_held
        self._pauses = pauses
        self._group = group
        self._client_id = client_id
        self._before_revoke = before_revoke
        self._lost = lost
        connection = cluster.connection()
        self._consumer = AIOKafkaConsumer(
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
            **connection,
        )
        self._admin = AIOKafkaAdminClient(client_id=client_id, **connection)
        self._ledgers: dict[TopicPartition, Ledger] = {}
        self._committed: dict[TopicPartition, CommitPoint] = {}
        self._owned: set[TopicPartition] = set()
        self._full: set[TopicPartition] = set()
        self._map_full: set[TopicPartition] = set()
        self._unreadable: set[TopicPartition] = set()
        self._put_back: set[TopicPartition] = set()
        self._restoring: asyncio.Task[None] | None = None
        self._commit_lock = asyncio.Lock()
        self._probe_s = tuning.probe_s
        self.trouble: str | None = None
        """Why Kafka is of no use now; None while it answers."""
        self.joined = False
        """Whether the group has given us our share, which may be nothing."""
        self.answering = Lasting()
        """Kafka and the group's coordinator answer."""
        self.outside = Lasting()
        """The coordinator does not count us among the group's members, whatever aiokafka believes."""
        self.unsettled = Lasting()
        """A rebalance has begun and what it gave us is not taken over."""
        self.uncommitted = Lasting()
        """Turns are done and no commit has succeeded."""
        self.polled_at = time.monotonic()

    @property
    def partitions(self) -> list[int]:
        """Partitions owned and restored."""
        return sorted(partition.partition for partition in self._owned)

    @property
    def ledgers(self) -> dict[int, Ledger]:
        """Progress by partition; during a rebalance that of the partitions owned before."""
        return {partition.partition: ledger for partition, ledger in self._ledgers.items()}

    @property
    def held(self) -> int:
        """Turns polled and not done."""
        return sum(ledger.held for ledger in self._ledgers.values())

    async def start(self) -> None:
        """Joins the group. Raises KafkaError when the cluster cannot be reached."""
        await self._admin.start()
        await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=self)
        self.unsettled.note(True, time.monotonic())

    async def stop(self) -> None:
        """Commits what is done and leaves the group, so that others take over at once."""
        await self.commit()
        if self._restoring is not None:
            self._restoring.cancel()
        await within(self._consumer.stop(), "consumer")
        await within(self._admin.close(), "admin")

    async def poll(self, room: int, timeout_s: float) -> list[InboundRecord]:
        """At most ``room`` new turns, waiting up to ``timeout_s`` for the first.

        With no room it still polls, on paused partitions: a consumer that does not poll is put out of its group.
        """
        self.polled_at = time.monotonic()
        self._balance(room <= 0)
        self._put_back.clear()
        try:
            batches = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000), max_records=max(1, room))
        except NoOffsetForPartitionError:
            return []  # a partition that was just assigned; `_restore` gives it its position
        except OffsetOutOfRangeError as error:
            await self._reposition(error.args[0])
            return []
        except UnicodeDecodeError:
            return await self._poll_singly()
        return [turn for partition, records in batches.items() for turn in self._take(partition, records)]

    def _take(self, partition: TopicPartition, records: list[ConsumerRecord]) -> list[InboundRecord]:
        ledger = self._ledgers.get(partition)
        if ledger is None or partition not in self._owned:
            return []
        if self._withheld(partition):
            self._consumer.seek(partition, ledger.position)
            return []
        return [inbound_record(record, ledger) for record in records if ledger.polled(record.offset)]

    def _withheld(self, partition: TopicPartition) -> bool:
        """Whether what this poll brings of it came before a pause, perhaps from beyond what was put back since."""
        return partition in self._put_back or self._pauses.paused(partition.partition)

    async def _poll_singly(self) -> list[InboundRecord]:
        """Polls record by record, around one that cannot be read.

        That one is held where it is, aloud, until an operator steps over it: skipping its batch would lose readable turns.
        """
        turns: list[InboundRecord] = []
        self._put_back.clear()
        for partition in self._owned:
            # What the failed poll had already taken off the other partitions is read once more.
            self._consumer.seek(partition, self._ledgers[partition].position)
        for partition in self._owned - self._full:
            try:
                await self._take_singly(partition, turns)
            except UnreadableRecordError as error:
                self._hold(error)
                break
        # A pause that came meanwhile found these in no lane.
        late = [turn for turn in turns if self._withheld(self._place(turn)) and self.can_put_back(turn)]
        self.put_back(late)
        return [turn for turn in turns if turn not in late]

    async def _take_singly(self, partition: TopicPartition, turns: list[InboundRecord]) -> None:
        """Adds turns of this partition, up to `_STEP` in all. Raises UnreadableRecordError."""
        ledger = self._ledgers.get(partition)
        if ledger is None or len(turns) >= _STEP or self._withheld(partition):
            return
        offsets = range(ledger.position, ledger.position + _STEP)
        async with aclosing(one_by_one(self._consumer, partition, offsets, _SINGLE_MS)) as records:
            async for record in records:
                turns += self._take(partition, [record])
                if len(turns) >= _STEP or self._withheld(partition):
                    return

    def _hold(self, unreadable: UnreadableRecordError) -> None:
        """Takes nothing more of its partition."""
        partition, ledger = unreadable.partition, self._ledgers.get(unreadable.partition)
        if ledger is None:
            return  # a rebalance took it meanwhile
        self._unreadable.add(partition)
        self._consumer.seek(partition, ledger.position)
        metrics.UNREADABLE.inc()
        log.error(
            "partition.unreadable",
            partition=partition.partition,
            offset=unreadable.offset,
            error=str(unreadable),
            fix="set the group's offset of this partition behind that record's batch, then restart the worker",
        )

    def _place(self, turn: InboundRecord) -> TopicPartition:
        return TopicPartition(self._topic, turn.partition)

    def can_put_back(self, turn: InboundRecord) -> bool:
        """Whether Kafka still has this turn at the place where it was polled."""
        return self._ledgers.get(self._place(turn)) is turn.ledger

    def put_back(self, turns: Iterable[InboundRecord]) -> None:
        """Leaves turns that have not begun to Kafka, to be polled again; ask `can_put_back` for each."""
        offsets = defaultdict[TopicPartition, list[int]](list)
        for turn in turns:
            offsets[self._place(turn)].append(turn.offset)
        for partition, those in offsets.items():
            ledger = self._ledgers[partition]
            ledger.put_back(those)
            self._put_back.add(partition)
            if partition in self._owned:  # otherwise a rebalance is under way, which seeks to the same place
                self._consumer.seek(partition, ledger.position)

    async def commit(self, *, patience_s: float = 5.0) -> None:
        """Commits every partition's progress that moved. A commit that fails is made up for by the next."""
        async with self._commit_lock:
            points = {
                partition: point
                for partition, ledger in self._ledgers.items()
                if (point := ledger.commit_point()) != self._committed.get(partition)
            }
            self._mark_full(points)
            self.uncommitted.note(bool(points), time.monotonic())
            if not points:
                return
            try:
                # Not wait_for: before Python 3.12 it may swallow a cancellation that comes as its work ends.
                async with asyncio.timeout(patience_s):
                    await self._consumer.commit(dict(points))
            except (CommitFailedError, IllegalStateError) as error:
                log.info("commit.superseded", reason=str(error))  # the group moved on: the new owner's word counts
            except (KafkaError, TimeoutError) as error:
                log.warning("commit.failed", error=str(error) or type(error).__name__)
            else:
                self._committed.update(points)
                self.uncommitted.note(False, time.monotonic())

    async def probe(self) -> None:
        """Asks Kafka every few seconds whether it is there and still has our topic, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    topics = await self._admin.list_topics()
                # A group that is new has no coordinator yet; until we have joined, `unsettled` says what is wrong.
                async with asyncio.timeout(_ANSWER_S):
                    member = not self.joined or await self._is_member()
            except (KafkaError, OSError, TimeoutError) as error:
                self.trouble = f"Kafka does not answer: {error or type(error).__name__}"
            else:
                self.trouble = None if self._topic in topics else f"topic {self._topic} is gone"
                self.outside.note(not member, time.monotonic())
            self.answering.note(self.trouble is None, time.monotonic())
            await asyncio.sleep(self._probe_s)

    async def _is_member(self) -> bool:
        """Whether the group's coordinator counts us among its members; aiokafka may be the last to learn that it does not."""
        (answer,) = await self._admin.describe_consumer_groups([self._group])
        error, _, _, _, _, members, *_ = answer.groups[0]
        if error:
            raise for_code(error)(f"the coordinator of {self._group} does not answer")
        return any(client_id == self._client_id for _, client_id, *_ in members)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Before a rebalance: lets what is nearly done finish, commits, takes nothing more."""
        self.unsettled.note(True, time.monotonic())
        if not revoked:
            return
        self._owned = set()
        if self._restoring is not None:
            self._restoring.cancel()
        await self._before_revoke()
        await self.commit()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """After a rebalance. What must not race with the fetcher is done before anything is awaited."""
        metrics.REBALANCES.inc()
        kept = assigned & self._ledgers.keys()
        gone = self._ledgers.keys() - assigned
        fresh = assigned - kept
        for partition in kept:
            self._consumer.seek(partition, self._ledgers[partition].position)
        self._consumer.pause(*fresh)
        for partition in gone:
            del self._ledgers[partition]
            self._committed.pop(partition, None)
        self._owned, self._full, self._map_full, self._unreadable = set(kept), set(), set(), set()
        self._lost({partition.partition for partition in gone})
        self._restoring = asyncio.create_task(self._restore(fresh), name="intake.restore")
        log.info("rebalance", partitions=len(assigned), kept=len(kept), lost=len(gone), gained=len(fresh))

    async def _restore(self, fresh: set[TopicPartition]) -> None:
        """Reads back where the previous owner of each partition stood, and what it had done beyond."""
        while fresh:
            try:
                committed = await self._admin.list_consumer_group_offsets(self._group, partitions=list(fresh))
                starts = await self._consumer.beginning_offsets(list(fresh))
                ends = await self._consumer.end_offsets(list(fresh))
            except KafkaError as error:
                log.warning("restore.failed", error=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_S)
                continue
            for partition in fresh:
                self._take_over(partition, committed.get(partition), starts[partition], ends[partition])
            break
        self.joined = True
        self.unsettled.note(False, time.monotonic())
        await self.commit()

    def _take_over(self, partition: TopicPartition, committed: Any, start: int, log_end: int) -> None:
        offset, metadata = (committed.offset, committed.metadata or "") if committed else (-1, "")
        if 0 <= offset < start:
            log.error("turns.expired_in_kafka", partition=partition.partition, count=start - offset)
        if offset < start:
            offset, metadata = start, ""
        ledger = Ledger(offset, metadata, log_end)
        if ledger.damaged:
            metrics.DAMAGED_MAPS.inc()
            log.warning("completion_map.ignored", partition=partition.partition, reason=ledger.damaged)
        self._ledgers[partition] = ledger
        if committed and committed.offset == offset:
            self._committed[partition] = CommitPoint(offset, metadata)
        # Otherwise the position is committed at once: an autoscaler that finds none takes the whole log for lag.
        self._consumer.seek(partition, offset)
        self._consumer.resume(partition)
        self._owned.add(partition)

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
            self._ledgers[partition] = Ledger(starts[partition])
            self._consumer.seek(partition, starts[partition])

    def _balance(self, crowded: bool) -> None:
        """Pauses the partitions that may take nothing more now, and resumes those that may again."""
        share = self._most_held // max(1, len(self._owned))
        full = set()
        for partition in self._owned:
            bound = share * 9 // 10 if partition in self._full else share
            ledger = self._ledgers[partition]
            # What a restart or a pause left to be polled again takes no memory, and must come for anything to get better.
            map_full = partition in self._map_full and ledger.held == ledger.pending
            if map_full or partition in self._unreadable or ledger.held >= max(1, bound):
                full.add(partition)
        by_operator = {partition for partition in self._owned if self._pauses.paused(partition.partition)}
        wanted = self._owned if crowded else full | by_operator
        paused = self._consumer.paused() & self._owned
        self._consumer.pause(*(wanted - paused))
        self._consumer.resume(*(paused - wanted))
        self._full = full

    def _mark_full(self, points: dict[TopicPartition, CommitPoint]) -> None:
        """Notes the partitions whose completions would soon no longer fit beside their commit."""
        for partition, point in points.items():
            full = len(point.metadata) > _FULL * MAX_METADATA
            if full != (partition in self._map_full):
                log.info("partition.full" if full else "partition.open", partition=partition.partition)
                (self._map_full.add if full else self._map_full.discard)(partition)


async def within(closing: Awaitable[None], what: str) -> None:
    """Kafka may be away for good: leaving waits for it only so long, and is not stopped by what it raises."""
    task = asyncio.ensure_future(closing)
    await asyncio.wait([task], timeout=CLOSE_S)
    if not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
    if task.cancelled() or not task.done() or task.exception() is not None:
        log.warning("close.abandoned", what=what, after_s=CLOSE_S)
