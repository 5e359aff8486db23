"""Forebay's engine on the same work as its peers: the real worker, with a simulated call where the model would be."""

from __future__ import annotations

import asyncio
import signal
from functools import partial

import orjson
import uvloop

from forebay.schemas import Cluster, WhenBusy
from forebay.workers.engine.handler import SendDelta
from forebay.workers.engine.publication import Publication
from forebay.workers.engine.turn_group import TurnGroup
from forebay.workers.engine.worker import Worker
from forebay.workers.settings import WorkerSettings

from .calls import call_seconds, sequence_of
from .engine_contract import Contract


class SimulatedCalls:
    """Answers a turn after the call's length."""

    def __init__(self, contract: Contract, _: SendDelta) -> None:
        self._contract = contract

    when_busy: WhenBusy = "enqueue"

    def ready(self) -> str | None:
        return None

    def permits(self) -> int:
        return self._contract.concurrency

    def drop(self, conversation_id: str) -> None:
        """It holds nothing."""

    async def close(self) -> None:
        """Nothing was begun."""

    async def answer(self, group: TurnGroup) -> list[Publication]:
        (inbound,) = group.turns
        turn = inbound.decode()
        if seconds := call_seconds(self._contract, sequence_of(turn.turn_id)):
            await asyncio.sleep(seconds)
        reply = orjson.dumps({"turn_id": turn.turn_id, "conversation_id": turn.conversation_id})
        return [Publication(reply, None, turn.conversation_id, "answered")]


async def work(contract: Contract) -> None:
    """Drains the topic until SIGTERM."""
    cluster = Cluster(kafka=contract.bootstrap, topic_prefix=contract.topic.removesuffix(".requests"))
    settings = WorkerSettings(group=contract.group, concurrency=contract.concurrency)
    worker = Worker(cluster, settings, partial(SimulatedCalls, contract))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()


if __name__ == "__main__":
    uvloop.run(work(Contract.from_command_line()))
