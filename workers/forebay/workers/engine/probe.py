"""Probe: whether Kafka is there, and counts this worker among its group's members."""

from __future__ import annotations

import asyncio
import time

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from .rebalances import Rebalances
from .since import Since

_ANSWER_S = 5.0
"""How long Kafka may take to answer before it counts as away, in seconds."""


class Probe:
    """Asks Kafka every few seconds, by connections other than the consumer's."""

    def __init__(
        self,
        admin: AIOKafkaAdminClient,
        topic: str,
        group: str,
        client_id: str,
        rebalances: Rebalances,
        every_s: float,
    ) -> None:
        self._admin, self._topic, self._group, self._client_id = admin, topic, group, client_id
        self._rebalances = rebalances
        self._every_s = every_s
        self.trouble: str | None = None
        """Why Kafka is of no use now; None while it answers."""
        self.answering = Since()
        """Kafka and the group's coordinator answer."""
        self.outside = Since()
        """The coordinator does not count us among the group's members, whatever aiokafka believes."""

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    topics = await self._admin.list_topics()
                # A group that is new has no coordinator yet; until we have joined, `unsettled` says what is wrong.
                async with asyncio.timeout(_ANSWER_S):
                    member = not self._rebalances.joined or await self._is_member()
            except (KafkaError, OSError, TimeoutError) as error:
                self.trouble = f"Kafka does not answer: {error or type(error).__name__}"
            else:
                self.trouble = None if self._topic in topics else f"topic {self._topic} is gone"
                self.outside.note(not member, time.monotonic())
            self.answering.note(self.trouble is None, time.monotonic())
            await asyncio.sleep(self._every_s)

    async def _is_member(self) -> bool:
        """Whether the group's coordinator counts us among its members; aiokafka may be the last to learn that it does not."""
        (answer,) = await self._admin.describe_consumer_groups([self._group])
        error, _, _, _, _, members, *_ = answer.groups[0]
        if error:
            raise for_code(error)(f"the coordinator of {self._group} does not answer")
        return any(client_id == self._client_id for _, client_id, *_ in members)
