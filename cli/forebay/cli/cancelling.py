"""What becomes of a turn that is taken back from the command line."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal, NamedTuple

from forebay.producers import ChatClient
from forebay.producers.partition import partition_of
from forebay.producers.topic_reader import TopicReader
from forebay.schemas import Cluster, DecodeError, Reply, decode_reply
from forebay.schemas.turn import made_at

_LOOKED_BACK_S = 900.0
"""How far back the reply of a turn is searched whose id has no time in it (as a UUIDv7 has), in seconds."""

_REPLAYED = ("failed", "expired")
"""Outcomes after which a turn may run once more, as a replayed dead letter."""


class Cancelled(NamedTuple):
    """How a cancelled turn stands."""

    turn_id: str
    conversation_id: str
    status: Literal["cancelled", "too_late", "sent"]
    """``sent``: Kafka has the cancellation, and the turn has no reply yet."""
    reply: Reply | None

    def fields(self) -> dict[str, Any]:
        """Its fields for JSON."""
        reply = self.reply.model_dump(mode="json") if self.reply is not None else None
        return {**self._asdict(), "reply": reply}


async def cancel_turn(cluster: Cluster, turn_id: str, conversation: str, wait_s: float) -> Cancelled:
    """Takes the turn back and waits a little for its reply. Raises ClusterError, KafkaError, ValidationError."""
    async with ChatClient(cluster) as chat:
        # What was published before the search began is found by it, what comes later is heard.
        hearing = asyncio.create_task(chat.cancel(turn_id, conversation_id=conversation, timeout_s=wait_s))
        try:
            reply = await _earlier_reply(cluster, turn_id, conversation)
            if reply is None or reply.outcome in _REPLAYED:
                reply = await hearing or reply
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
    status: Literal["cancelled", "too_late", "sent"] = "sent"
    if reply is not None:
        status = "cancelled" if reply.outcome == "cancelled" else "too_late"
    return Cancelled(turn_id, conversation, status, reply)


def sentence(found: Cancelled) -> str:
    """For a person."""
    if found.reply is None:
        return (
            f"turn {found.turn_id}: Kafka has the cancellation for an hour; the turn has no reply yet: "
            "it is not known, or no worker runs"
        )
    if found.status == "cancelled":
        said = f"; said by then: {found.reply.text}" if found.reply.text else "; nothing was said"
        return f"turn {found.turn_id}: cancelled{said}"
    merged = f" into {found.reply.merged_into}" if found.reply.merged_into else ""
    return f"turn {found.turn_id}: too late, its reply is {found.reply.outcome}{merged}"


async def _earlier_reply(cluster: Cluster, turn_id: str, conversation: str) -> Reply | None:
    """The reply that the turn has already, as far back as it can have one."""
    since_ms = int((made_at(turn_id) or time.time() - _LOOKED_BACK_S) * 1000) - 1000
    async with await TopicReader.of(cluster, cluster.topics.replies) as reader:
        spans = await reader.spans(since_ms)
        own = partition_of(conversation.encode(), len(spans))
        async for records in reader.by_partition({own: spans[own]}):
            for record in records:
                if turn_id.encode() not in (record.value or b""):
                    continue
                try:
                    reply = decode_reply(record.value)
                except DecodeError:
                    continue  # what is no reply is told by those who follow the topic
                if (reply.turn_id, reply.conversation_id) == (turn_id, conversation):
                    return reply
    return None
