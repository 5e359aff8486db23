"""FastStream in its two documented ways: ``ack``, at least once, and ``ack_first``, concurrent and at most once.

https://faststream.ag2.ai/latest/kafka/ack/
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage

from forebay.schemas import Cluster

from .answer import CONCURRENCY, GROUP, SESSION_MS, answer, client, decode, say, until_sigterm


async def work(policy: AckPolicy) -> None:
    """Consumes until SIGTERM."""
    cluster = Cluster.read()
    broker = KafkaBroker(cluster.kafka, acks="all", enable_idempotence=True, apply_types=False)
    model = client()

    async def on_turn(message: KafkaMessage) -> None:
        if (turn := decode(message.body)) is not None:
            reply = await answer(model, turn)
            await broker.publish(reply, cluster.topics.replies, key=turn["conversation_id"].encode())

    subscription: dict[str, Any] = {"ack_policy": policy}
    if policy is AckPolicy.ACK_FIRST:
        subscription["max_workers"] = CONCURRENCY
    broker.subscriber(
        cluster.topics.requests,
        group_id=GROUP,
        auto_offset_reset="earliest",
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=500,
        decoder=_whole,
        **subscription,
    )(on_turn)
    app = FastStream(broker)
    app.after_startup(lambda: say("peer.started"))
    await app.run(log_level=logging.WARNING)


async def _whole(message: KafkaMessage) -> KafkaMessage:
    """The message as it is: the handler decodes it, so that poison is its own affair."""
    return message


if __name__ == "__main__":
    until_sigterm(work(AckPolicy(sys.argv[1])))
