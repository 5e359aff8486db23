"""Commits: what is done goes to Kafka, each partition's offset with its completion map beside it."""

from __future__ import annotations

import asyncio
import time

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from .partitions import Partitions
from .since import Since

log = structlog.get_logger()

COMMIT_S = 0.25
"""Between two commits, in seconds: how much a crash may publish again (never call again: replies are stored)."""
_ANSWER_S = 5.0
"""How long Kafka may take for one commit, in seconds."""


class Commits:
    """Commits every partition's progress that moved, one commit at a time."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: Partitions) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._lock = asyncio.Lock()
        self.outstanding = Since()
        """Turns are done and no commit has succeeded."""

    async def run(self) -> None:
        """Commits every `COMMIT_S` until cancelled."""
        while True:
            await asyncio.sleep(COMMIT_S)
            await self.commit()

    async def commit(self) -> None:
        """Commits now. A commit that fails is made up for by the next."""
        async with self._lock:
            points = self._partitions.uncommitted()
            self.outstanding.note(bool(points), time.monotonic())
            if not points:
                return
            try:
                # Not wait_for: before Python 3.12 it may swallow a cancellation that comes as its work ends.
                async with asyncio.timeout(_ANSWER_S):
                    await self._consumer.commit(dict(points))
            except (CommitFailedError, IllegalStateError) as error:
                log.info(
                    "commit.superseded", reason=str(error)
                )  # the group moved on: what the new owner commits counts
            except (KafkaError, TimeoutError) as error:
                log.warning("commit.failed", error=str(error) or type(error).__name__)
            else:
                self._partitions.committed(points)
                self.outstanding.note(False, time.monotonic())
