"""Until when Kafka holds the records that are on a topic now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import KafkaError

from forebay.producers.provision import read_settings
from forebay.schemas import Cluster

_CHECKS = timedelta(minutes=5)
"""How often brokers look for what they may delete (``log.retention.check.interval.ms``)."""


class TopicHold(NamedTuple):
    """A topic, and how long it holds what is on it."""

    topic: str
    about: str
    until: datetime | None
    """At the latest; None is for ever."""


async def topic_holds(cluster: Cluster, now: datetime) -> tuple[TopicHold, ...]:
    """Of each topic that has customers' words. Raises ClusterError."""
    admin = AIOKafkaAdminClient(**cluster.connection())
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        topics = cluster.topics
        return tuple(
            [
                TopicHold(spec.name, spec.about, held_until(await _settings(admin, spec.name), now))
                for spec in topics.specs()
                if spec.name in existing and spec.name not in (topics.workers, topics.commands)
            ]
        )
    except (KafkaError, OSError) as error:
        raise cluster.explain(error) from error
    finally:
        await admin.close()


def held_until(settings: Mapping[str, str], now: datetime) -> datetime | None:
    """Until when a record of ``now`` may be there, by a topic's settings. Pure.

    Kafka deletes whole segments: a record waits until its segment is full or ``segment.ms`` old, then for the retention.
    """
    retention_ms, segment_ms = int(settings["retention.ms"]), int(settings["segment.ms"])
    if retention_ms < 0 or "delete" not in settings.get("cleanup.policy", "delete"):
        return None
    try:
        return now + timedelta(milliseconds=retention_ms + segment_ms) + _CHECKS
    except OverflowError:
        return None


async def _settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    return await read_settings(admin, ConfigResourceType.TOPIC, topic)
