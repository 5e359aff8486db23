"""Pytest fixtures for anyone who tests against Forebay: real Kafka and Redis, the simulated model API, topics of one's own.

pytest_plugins = ["forebay.testing.fixtures"]
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import pytest_asyncio

from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.model_api import ModelApi, ModelApiSettings
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.schemas import Cluster


@pytest.fixture(scope="session")
def kafka() -> Iterator[EmbeddedKafka]:
    """One real broker for the whole test session; it is up in two seconds and keeps nothing."""
    with EmbeddedKafka.running() as broker:
        yield broker


@pytest.fixture(scope="session")
def redis() -> Iterator[EmbeddedRedis]:
    """One real Redis for the whole test session; what a test keeps there needs names of its own."""
    with EmbeddedRedis.running() as server:
        yield server


@pytest_asyncio.fixture
async def cluster(kafka: EmbeddedKafka) -> Cluster:
    """Topics of this test's own, three partitions each."""
    cluster = Cluster(kafka=kafka.bootstrap_servers, topic_prefix=f"test-{uuid4().hex[:12]}")
    await apply_topics(cluster, TopicSettings(topic_partitions=3))
    return cluster


@pytest_asyncio.fixture
async def model_api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ModelApi]:
    """A simulated model API that answers in about 20 ms; the environment points at it."""
    async with ModelApi(ModelApiSettings(latency_ms=20.0)) as api:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "simulated")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        monkeypatch.setenv("OPENAI_API_KEY", "simulated")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{api.url}/v1")
        yield api
