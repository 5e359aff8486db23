"""Erasure: forgets conversations in the store, at providers and in live processes, and says what is still where."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from forebay.schemas import EVERYBODY, Cluster, ClusterError, Command, encode, new_id
from forebay.workers.conversations import Erased, Store
from forebay.workers.models.sessions.deletion import delete_sessions

from .topic_retention import TopicHold, topic_holds

_TELL_S = 10.0
"""How long Kafka may take to take the commands to live processes, in seconds."""


class Receipt(NamedTuple):
    """What an erasure did, and what is left of the conversations for how long."""

    erased: dict[str, Erased]
    """By conversation."""
    topics: tuple[TopicHold, ...]
    sessions: dict[str, str]
    """Providers' sessions: why each is still there, "" when it was deleted."""
    problems: tuple[str, ...]
    """What could not be done: say it again when that is mended."""
    dry_run: bool

    @property
    def complete(self) -> bool:
        """Whether everything was done."""
        return not self.problems and not any(self.sessions.values())

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "dry_run": self.dry_run,
            "complete": self.complete,
            "conversations": [
                {"conversation_id": name, "erased_at": _time(erased.erased_at), "removed": dict(erased.removed)}
                for name, erased in self.erased.items()
            ],
            "topics": [{"topic": hold.topic, "held_until": hold.until} for hold in self.topics],
            "provider_sessions": [
                {"session_id": session, "deleted": not self.dry_run and not why, "problem": why or None}
                for session, why in self.sessions.items()
            ],
            "problems": list(self.problems),
        }


async def erase(
    store: Store, cluster: Cluster, conversations: Sequence[str], *, issued_by: str = "", dry_run: bool = False
) -> Receipt:
    """Erases conversations, one after the other; ``dry_run`` only counts. Raises StoreError.

    What Kafka or a provider does not do now is among the receipt's problems: the store has forgotten all the same.
    """
    erased = {name: await store.erase(name, dry_run=dry_run) for name in conversations}
    problems = [
        f"{name}: what providers keep of it is not known: {one.unreadable}"
        for name, one in erased.items()
        if one.unreadable
    ]
    if not dry_run and erased:
        if left := await store.scrub():
            problems.append(f"the store: {left}")
        try:
            await _tell(cluster, tuple(erased), issued_by)
        except ClusterError as error:
            problems.append(f"live processes were not told, and hold words in memory until they restart: {error}")
    kept = [session for one in erased.values() for session in one.sessions]
    sessions = {session.split(":")[0]: "" for session in kept} if dry_run else await delete_sessions(kept)
    try:
        topics = await topic_holds(cluster, datetime.now(UTC))
    except ClusterError as error:
        topics = ()
        problems.append(f"until when the topics hold their records is not known: {error}")
    return Receipt(erased, topics, sessions, tuple(problems), dry_run)


async def _tell(cluster: Cluster, conversations: Sequence[str], issued_by: str) -> None:
    """Lets live gateways and workers drop what they hold. Raises ClusterError."""
    topic, now = cluster.topics.commands, datetime.now(UTC)
    producer = AIOKafkaProducer(acks="all", **cluster.connection())
    try:
        async with asyncio.timeout(_TELL_S):
            await producer.start()
            for name in conversations:
                command = Command(
                    command_id=new_id(), command="erase", conversation_id=name, issued_by=issued_by, issued_at=now
                )
                await producer.send_and_wait(topic, encode(command), key=EVERYBODY.encode())
    except TimeoutError:
        raise ClusterError(f"{topic} did not take the command within {_TELL_S:g} s") from None
    except (KafkaError, OSError) as error:
        raise cluster.explain(error) from error
    finally:
        producer._message_accumulator.fail_all(ClusterError("the command was given up"))
        await producer.stop()


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
