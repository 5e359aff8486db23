"""Rebalances: partitions that stay, go and come.

aiokafka 0.14 rebalances eagerly: every partition is revoked, and one that comes straight back starts again at its
committed offset with its pause forgotten. So a partition that stays keeps its `Ledger` and is sought past what is
already here; one that is new is held until its completion map was read back; one that went takes its turns with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.workers import metrics

from .commits import Commits
from .ledger import CommitPoint, Ledger
from .partitions import Partitions
from .since import Since

log = structlog.get_logger()

_RETRY_S = 0.5


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Is told of each rebalance by the consumer."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        group: str,
        partitions: Partitions,
        commits: Commits,
        *,
        before: Callable[[], Awaitable[None]],
        after: Callable[[set[int]], None],
    ) -> None:
        """``before`` is awaited before partitions are given up, and bounds itself (`Dispatch.before_revoke`); ``after`` is
        told which ones went.
        """
        self._consumer, self._admin, self._group = consumer, admin, group
        self._partitions, self._commits = partitions, commits
        self._before, self._after = before, after
        self._restoring: asyncio.Task[None] | None = None
        self.joined = False
        """Whether the group has given us our share, which may be nothing."""
        self.unsettled = Since()
        """A rebalance has begun and what it gave us is not taken over."""

    def joining(self) -> None:
        """The first rebalance begins."""
        self.unsettled.note(True, time.monotonic())

    def stop(self) -> None:
        """Takes nothing over any more."""
        if self._restoring is not None:
            self._restoring.cancel()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Before a rebalance: lets what is nearly done finish, commits, takes nothing more."""
        self.unsettled.note(True, time.monotonic())
        if not revoked:
            return
        self._partitions.owned = set()
        self.stop()
        await self._before()
        await self._commits.commit()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """After a rebalance. What must not race with the fetcher is done before anything is awaited."""
        metrics.REBALANCES.inc()
        kept, lost, gained = self._partitions.reassign(assigned)
        for partition in kept:
            self._consumer.seek(partition, self._partitions.ledgers[partition].position)
        self._consumer.pause(*gained)
        self._after({partition.partition for partition in lost})
        self._restoring = asyncio.create_task(self._restore(gained), name="intake.restore")
        log.info("rebalance", partitions=len(assigned), kept=len(kept), lost=len(lost), gained=len(gained))

    async def _restore(self, gained: set[TopicPartition]) -> None:
        """Reads back where the previous owner of each partition stood, and what it had done beyond."""
        while gained:
            try:
                committed = await self._admin.list_consumer_group_offsets(self._group, partitions=list(gained))
                starts = await self._consumer.beginning_offsets(list(gained))
                ends = await self._consumer.end_offsets(list(gained))
            except KafkaError as error:
                log.warning("restore.failed", error=str(error) or type(error).__name__)
                await asyncio.sleep(_RETRY_S)
                continue
            for partition in gained:
                self._take_over(partition, committed.get(partition), starts[partition], ends[partition])
            break
        self.joined = True
        self.unsettled.note(False, time.monotonic())
        await self._commits.commit()

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
        # Otherwise the position is committed at once: an autoscaler that finds none takes the whole log for lag.
        known = CommitPoint(offset, metadata) if committed and committed.offset == offset else None
        self._partitions.take_over(partition, ledger, known)
        self._consumer.seek(partition, offset)
        self._consumer.resume(partition)
