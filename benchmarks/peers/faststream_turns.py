"""What both FastStream peers share: the broker and the handler of a turn."""

from __future__ import annotations

import asyncio
from typing import Any

from faststream import FastStream
from faststream.kafka import KafkaBroker

from benchmarks.calls import call_seconds, sequence_of
from benchmarks.engine_contract import Contract

from . import settings


async def run(contract: Contract, **subscription: Any) -> None:
    """Runs an application with one subscriber; `subscription` decides its guarantees and concurrency."""
    # apply_types=False leaves out validation by annotations, which no other engine here does.
    broker = KafkaBroker(contract.bootstrap, logger=None, apply_types=False, **settings.producer(contract))

    async def answer(turn: dict[str, str]) -> None:
        if seconds := call_seconds(contract, sequence_of(turn["turn_id"])):
            await asyncio.sleep(seconds)
        conversation = turn["conversation_id"]
        reply = {"turn_id": turn["turn_id"], "conversation_id": conversation}
        await broker.publish(reply, contract.reply_topic, key=conversation.encode())

    broker.subscriber(contract.topic, group_id=contract.group, auto_offset_reset="earliest", **subscription)(answer)
    await FastStream(broker, logger=None).run()
