"""The setting of a sale: who comes, what the models are like, and what the workers are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.operations.planning.service_time import ServiceTime
from forebay.operations.planning.traffic import Traffic
from forebay.rehearsal.customers import Visit
from forebay.rehearsal.model_api import Limits, ModelApi, ModelApiSettings
from forebay.schemas import Cluster

from .recorded import recorded
from .scenario import ModelsPart, Scenario, ScenarioError


async def visits_of(scenario: Scenario, cluster: Cluster) -> tuple[Sequence[Visit], Traffic, int]:
    """Every visit and the rate of their turns, in the rehearsal's own time, and how many records were no turns.

    Raises ScenarioError for a topic with nothing on it, and ClusterError.
    """
    part = scenario.traffic
    if part.shape == "recorded":
        assert part.topic is not None
        tape = await recorded(cluster, part.topic, part.since, part.until)
        if not tape.visits:
            raise ScenarioError(f"{part.topic} at {cluster.kafka} has no turns in that time: nothing to send again")
        return tape.faster(scenario.speed), tape.traffic.faster(scenario.speed), tape.unread
    traffic = part.traffic().faster(scenario.speed)
    return tuple(scenario.visitors().visits(traffic)), traffic, 0


async def remove_topics(cluster: Cluster) -> None:
    """Leaves a Kafka that is not ours as it was."""
    admin = AIOKafkaAdminClient(**cluster.connection())
    try:
        await admin.start()
        ours = [topic for topic in await admin.list_topics() if topic.startswith(f"{cluster.topic_prefix}.")]
        await admin.delete_topics(ours)
    except KafkaError as error:
        raise cluster.explain(error) from error
    finally:
        await admin.close()


def api_settings(models: ModelsPart) -> ModelApiSettings:
    """The simulated provider."""
    service = ServiceTime(models.latency.p50, models.latency.p99)
    return ModelApiSettings(
        latency_ms=service.mean_s * 1000,
        jitter=service.scv**0.5,
        distribution="lognormal",
        limits=Limits(
            max_in_flight=models.max_in_flight,
            refuse_with=429,
            requests_per_minute=models.requests_per_minute,
            tokens_per_minute=models.tokens_per_minute,
        ),
    )


def worker_environment(
    scenario: Scenario, cluster: Cluster, group: str, store: Path, api: ModelApi | None
) -> dict[str, str]:
    """Settings of the worker processes, on top of the environment they inherit."""
    part = scenario.workers
    environment = {
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
        "FOREBAY_GROUP": group,
        "FOREBAY_STORE": f"sqlite:///{store}",
        "FOREBAY_CONCURRENCY": str(part.concurrency),
        "FOREBAY_ASSISTANT": part.assistant,
        "SHOP_DATABASE": str(store.with_name("shop.db")),
    }
    if part.model:
        environment["FOREBAY_MODEL"] = part.model
    if api is not None:
        environment |= {
            "ANTHROPIC_API_KEY": "simulated",
            "ANTHROPIC_BASE_URL": api.url,
            "OPENAI_API_KEY": "simulated",
            "OPENAI_BASE_URL": f"{api.url}/v1",
        }
    return environment | part.settings
