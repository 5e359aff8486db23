"""Creates missing topics and reports how existing ones differ; never changes an existing topic."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from pydantic import Field

from forebay.schemas import Cluster, ClusterError, Environment, TopicSpec

_LOOK_S = 0.02
_LOOKS = 500


class TopicSettings(Environment):
    """How topics are created."""

    topic_partitions: int = Field(default=12, ge=1, le=10_000)
    """Partitions of each topic. Adding some later would break the order of conversations, so choose for the largest sale."""
    topic_replication: int | None = Field(default=None, ge=1, le=32_767)
    """Replicas of each partition; default: the broker's own."""


class TopicState(NamedTuple):
    """What was found or done for one topic."""

    name: str
    created: bool
    partitions: int
    differences: tuple[str, ...]
    """How an existing topic differs from what would be created, such as ``retention.ms is 1000, not 604800000``."""


async def apply_topics(cluster: Cluster, settings: TopicSettings) -> list[TopicState]:
    """Creates the topics that are missing and compares the others. Raises ClusterError."""
    admin = AIOKafkaAdminClient(**cluster.connection())
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        specs = cluster.topics.specs()
        missing = [spec for spec in specs if spec.name not in existing]
        created = await _create(admin, missing, settings) if missing else set()
        return [
            TopicState(spec.name, True, spec.partitions or settings.topic_partitions, ())
            if spec.name in created
            else await _compare(admin, spec, settings)
            for spec in specs
        ]
    except (KafkaError, OSError) as error:
        raise cluster.explain(error) from error
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec], settings: TopicSettings) -> set[str]:
    replication = settings.topic_replication or await _default_replication(admin)
    topics = [
        NewTopic(
            name=spec.name,
            num_partitions=spec.partitions or settings.topic_partitions,
            replication_factor=replication,
            topic_configs=dict(spec.settings),
        )
        for spec in specs
    ]
    created = set()
    response = await admin.create_topics(topics)
    for name, code, message, *_ in response.topic_errors:
        error = for_code(code)
        if error is TopicAlreadyExistsError:
            continue  # somebody else applies at the same moment
        if code:
            raise ClusterError(f"topic {name} cannot be created: {message or error.__name__}")
        created.add(name)
    await _seen(admin, {topic.name for topic in topics})
    return created


async def _seen(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Waits until the new topics are visible: brokers announce them a moment after creation."""
    for _ in range(_LOOKS):
        if names <= set(await admin.list_topics()):
            return
        await asyncio.sleep(_LOOK_S)


async def _default_replication(admin: AIOKafkaAdminClient) -> int:
    """aiokafka refuses -1 ("the broker's default"), so the default is read from a broker."""
    brokers = (await admin.describe_cluster())["brokers"]
    settings = await read_settings(admin, ConfigResourceType.BROKER, str(brokers[0]["node_id"]))
    if "default.replication.factor" not in settings:
        raise ClusterError(
            "this user may not read the broker's settings: set FOREBAY_TOPIC_REPLICATION, or grant it DescribeConfigs on "
            "the cluster"
        )
    return int(settings["default.replication.factor"])


async def _compare(admin: AIOKafkaAdminClient, spec: TopicSpec, settings: TopicSettings) -> TopicState:
    (described,) = await admin.describe_topics([spec.name])
    partitions, wanted = len(described["partitions"]), spec.partitions or settings.topic_partitions
    actual = await read_settings(admin, ConfigResourceType.TOPIC, spec.name)
    differences = [
        f"{name} is {actual.get(name)}, not {value}"
        for name, value in spec.settings.items()
        if actual.get(name) != value
    ]
    if partitions != wanted:
        differences.insert(
            0, f"it has {partitions} partitions, not {wanted} (never changed: order is kept by partition)"
        )
    return TopicState(spec.name, False, partitions, tuple(differences))


async def read_settings(admin: AIOKafkaAdminClient, kind: ConfigResourceType, name: str) -> dict[str, str]:
    """The settings of a topic or broker, its defaults too."""
    (response,) = await admin.describe_configs([ConfigResource(kind, name)])
    (resource,) = response.resources
    return {entry[0]: entry[1] for entry in resource[4]}
