"""The rights of the Kafka users, tried on a real Kafka that refuses everything else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest

from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.rehearsal.worker_processes import GatewayProcess, WorkerProcess
from forebay.schemas import Cluster
from tests.integration.conftest import until_async

from .manifests import manifests

USERS = manifests("KafkaUser")
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin;User:ANONYMOUS",  # the controller's own listener knows no names
}
RESOURCES = {"topic": 2, "group": 3, "transactionalId": 5}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Delete": 6, "Describe": 8, "DescribeConfigs": 10}
ALLOW = 3
KEYS = {"FOREBAY_GATEWAY_API_KEYS": "shop=server", "FOREBAY_GATEWAY_ADMIN_KEYS": "ann=admin"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[EmbeddedKafka]:
    """A broker that knows the manifests' users."""
    with EmbeddedKafka.running(
        users={"admin": "admin"} | dict.fromkeys(USERS, "secret"), settings=AUTHORIZER
    ) as broker:
        yield broker


@pytest_asyncio.fixture(scope="module")
async def rights(guarded: EmbeddedKafka) -> None:
    """The topics, and exactly the ACLs that the manifests give."""
    admin = cluster(guarded, "admin", "admin")
    await apply_topics(admin, TopicSettings(topic_partitions=2))
    client = AIOKafkaAdminClient(**admin.connection())
    await client.start()
    try:
        for name, user in USERS.items():
            for acl in user["spec"]["authorization"]["acls"]:
                place = acl["resource"]
                where = RESOURCES[place["type"]], place["name"], PATTERNS[place.get("patternType", "literal")]
                for operation in acl["operations"]:
                    request = CreateAclsRequest(*where, f"User:{name}", "*", OPERATIONS[operation], ALLOW)
                    (answer,) = (await client._send_to_controller(request)).creation_responses
                    assert answer[0] == 0, answer
        await until_async(partial(has_coordinator, client))
    finally:
        await client.close()


async def has_coordinator(client: AIOKafkaAdminClient) -> bool:
    """Whether groups can be asked for: Kafka makes its topic of offsets when somebody asks for the first one."""
    with suppress(GroupCoordinatorNotAvailableError):
        await client.list_consumer_group_offsets("forebay-workers")
        return True
    return False


def cluster(broker: EmbeddedKafka, user: str, password: str = "secret") -> Cluster:
    return Cluster(
        kafka=broker.bootstrap_servers,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_username=user,
        kafka_sasl_password=password,
    )


def environment(broker: EmbeddedKafka, user: str) -> dict[str, str]:
    return {
        "FOREBAY_KAFKA": broker.bootstrap_servers,
        "FOREBAY_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "FOREBAY_KAFKA_SASL_USERNAME": user,
        "FOREBAY_KAFKA_SASL_PASSWORD": "secret",
    }


@pytest_asyncio.fixture
async def site(
    guarded: EmbeddedKafka, rights: None, model_api: ModelApi, tmp_path: Path
) -> AsyncIterator[aiohttp.ClientSession]:
    """A worker and a gateway, each as its own user; calls to the gateway as a server."""
    worker = WorkerProcess(
        "worker", tmp_path, environment(guarded, "forebay-worker") | {"FOREBAY_MODEL": "claude-haiku-4-5"}
    )
    gateway = GatewayProcess(
        "gateway", tmp_path, environment(guarded, "forebay-gateway") | KEYS | {"FOREBAY_GATEWAY_OPEN": "false"}
    )
    try:
        await worker.ready()
        await gateway.ready()
        async with aiohttp.ClientSession(gateway.url, headers={"Authorization": "Bearer server"}) as session:
            yield session
    finally:
        gateway.close()
        worker.close()


async def forebay(broker: EmbeddedKafka, folder: Path, user: str, *words: str) -> str:
    """What a command prints for this user."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "forebay.cli", *words],
        env=os.environ | environment(broker, user),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.takes(12)
async def test_worker_gateway_and_operator_can_do_their_work(
    site: aiohttp.ClientSession, guarded: EmbeddedKafka, tmp_path: Path
) -> None:
    asked = {"text": "Is SKU001 in stock?", "stream": True, "wait": 30}
    async with site.post("/v1/conversations/c-1/turns", json=asked) as answer:
        assert (await answer.json())["reply"]["outcome"] == "answered"
    admin = {"Authorization": "Bearer admin"}
    for command in ("pause", "resume"):
        async with site.post("/console/api/commands", headers=admin, json={"command": command, "worker": "*"}) as said:
            assert said.status == 202, await said.text()
    for path in ("dead-letters", "handoffs", "audit"):
        async with site.get(f"/console/api/{path}", headers=admin) as shown:
            assert shown.status == 200, await shown.text()

    # What the documentation runs in a gateway's pod, and what a pod of one's own may run.
    for user in ("forebay-gateway", "forebay-operator"):
        refused = {"text": "[fault context_too_long]", "wait": 30}
        async with site.post("/v1/conversations/c-2/turns", json=refused) as answer:
            assert (await answer.json())["reply"]["outcome"] == "failed"
        asked_again = await forebay(guarded, tmp_path, user, "ask", "--json", "Hello")
        assert json.loads(asked_again)["outcome"] == "answered"
        (letter,) = (await forebay(guarded, tmp_path, user, "dlq", "list", "--json")).splitlines()
        assert json.loads(letter)["topic"] == "chat.requests.dlq"
        for words in ("dlq replay --all --yes", "costs --json", "status --json", "dlq purge --all --yes"):
            await forebay(guarded, tmp_path, user, *words.split())
    assert "differs" not in await forebay(guarded, tmp_path, "forebay-operator", "topics", "apply", "--partitions", "2")


@pytest.mark.usefixtures("rights")
async def test_the_scaler_sees_how_far_the_workers_are(guarded: EmbeddedKafka) -> None:
    seen = cluster(guarded, "forebay-scaler")
    admin = AIOKafkaAdminClient(**seen.connection())
    consumer = AIOKafkaConsumer(**seen.connection())
    await admin.start()
    await consumer.start()
    try:
        places = [TopicPartition("chat.requests", number) for number in (0, 1)]
        await admin.list_consumer_group_offsets("forebay-workers", partitions=places)
        assert (await consumer.end_offsets(places)).keys() == set(places)
    finally:
        await consumer.stop()
        await admin.close()


@pytest.mark.usefixtures("rights")
@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("forebay-worker", "chat.requests"),
        ("forebay-worker", "chat.commands"),
        ("forebay-gateway", "chat.replies"),
        ("forebay-operator", "chat.replies"),
        ("forebay-scaler", "chat.requests"),
    ],
)
async def test_nobody_writes_what_is_not_theirs(guarded: EmbeddedKafka, user: str, topic: str) -> None:
    producer = AIOKafkaProducer(**cluster(guarded, user).connection())
    await producer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(topic, b"{}")
    finally:
        await producer.stop()
