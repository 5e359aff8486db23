"""The listener to what operators command this worker over ``chat.commands``.

It hears the topic from its beginning, so that a worker which is started during a pause is paused too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from aiokafka import ConsumerRecord

from forebay.schemas import EVERYBODY, Cluster, Command, DecodeError, decode_command

from .topic_listener import TopicListener

log = structlog.get_logger()


class CommandListener:
    """Follows the commands to one worker. What is no command, or to another, changes nothing."""

    def __init__(
        self,
        cluster: Cluster,
        worker: str,
        started_at: datetime,
        obey: Callable[[Command], None],
        *,
        everybody: bool = True,
    ) -> None:
        """``obey`` is told each command to this worker, and to ``everybody``; of a `drain` only one that was issued after
        ``started_at``.
        """
        self._keys = {worker.encode(), *([EVERYBODY.encode()] if everybody else [])}
        self._started_at = started_at
        self._obey = obey
        self._caught_up = False
        self._listener = TopicListener(cluster, cluster.topics.commands, worker, self._hear)
        self.run, self.stop = self._listener.run, self._listener.stop

    async def start(self) -> None:
        """Obeys what is on the topic already. Raises KafkaError when the cluster does not answer."""
        await self._listener.start()
        self._caught_up = True

    def _hear(self, record: ConsumerRecord) -> None:
        if record.key not in self._keys:
            return
        try:
            command = decode_command(record.value)
        except DecodeError as error:
            log.warning("command.unreadable", offset=record.offset, error=str(error))
            return
        fields = command.model_dump(mode="json", exclude={"issued_at"}) | {"issued_at": command.issued_at.isoformat()}
        if command.command == "drain" and (not self._caught_up or command.issued_at < self._started_at):
            log.info("command.ignored", **fields, reason="it is older than this worker")
            return
        log.info("command.obeyed", **fields)
        self._obey(command)
