"""``forebay rehearse``, as a person or a release's pipeline runs it: from the wheel, real Kafka, real workers."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from forebay.producers import ChatClient, new_turn
from forebay.schemas import Cluster

from .installed import Shop

pytestmark = pytest.mark.timeout(900)


async def rehearse(shop: Shop, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(shop.forebay, "rehearse", *arguments, timeout_s=280, **environment)


async def held(shop: Shop, scenario: str, *arguments: str, passed: bool = True) -> dict[str, Any]:
    (shop.folder / "sale.yaml").write_text(scenario)
    done = await rehearse(shop, "sale.yaml", "--json", *arguments)
    assert done.returncode == (0 if passed else 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["passed"] is passed
    return document


@pytest.mark.takes(60)
async def test_a_fleet_grows_is_struck_and_shrinks_and_every_turn_is_answered(shop: Shop) -> None:
    document = await held(
        shop,
        """
name: small
speed: 100
traffic: {calm: 2/s, peak: 60/s, opens: 1m, climbs: 3m, holds: 13m, falls: 3m, rests: 5m}
customers: {conversations: 100, skew: 0.8}
models: {latency: {p50: 0.4, p99: 0.9}}
workers: {least: 1, most: 3, concurrency: 15}
faults:
  - {what: overloaded, at: 5m, lasts: 2m, share: 0.3}
  - {what: sigkill, at: 12m}
  - {what: broker_stop, at: 16m, lasts: 2m}
targets: {success_share: ">= 1", latency_p99_s: 60, peak_pods: ">= 2", total: ">= 500"}
""",
    )
    (run,) = document["runs"]
    figures = run["figures"]
    assert figures["lost"] == figures["out_of_order"] == figures["duplicates"] == figures["forgotten"] == 0
    assert figures["total"] == figures["succeeded"]
    assert figures["model_calls_failed"] > 0
    assert figures["bad_ends"] == 0
    said = " | ".join(happening["what"] for happening in run["happenings"])
    assert "1 -> " in said
    assert "got SIGKILL" in said
    assert "broker stop" in said
    assert "broker start" in said
    assert "another one starts in its place" in said
    assert run["prediction"] is None, "faults are not predicted"
    report = (shop.folder / "rehearsal.html").read_text()
    assert "met, and every promise kept" in report
    assert report.count("Plotly.newPlot(") >= 6


@pytest.mark.takes(30)
async def test_a_missed_target_ends_with_1_and_streams_are_compared(shop: Shop) -> None:
    document = await held(
        shop,
        """
traffic: {shape: points, points: [[0, 10/s], [2s, 10/s]]}
speed: 1
customers: {turns_a_visit: 3, think: 300ms}
models: {latency: {p50: 0.2, p99: 0.4}}
workers: {most: 1}
targets: {latency_p50_s: 0.001}
""",
        "--compare",
        "streamed",
        "--no-report",
        passed=False,
    )
    plain, streamed = document["runs"]
    assert (plain["variant"], streamed["variant"]) == ("plain", "streamed")
    assert plain["figures"]["first_word_p50_s"] is None
    assert 0 < streamed["figures"]["first_word_p50_s"] < streamed["figures"]["latency_p50_s"]
    assert [each["figure"] for each in document["targets"] if not each["met"]] == ["latency_p50_s"]
    assert not (shop.folder / "rehearsal.html").exists()


@pytest.mark.takes(100)
async def test_impatient_customers_meet_a_plain_service_and_workers_that_are_told_or_not(shop: Shop) -> None:
    document = await held(
        shop,
        """
traffic: {shape: sustained, peak: 30/s, holds: 8s}
speed: 1
customers: {patience: {median: 4s, again_after: [1s, 2s], reload: 0.1}}
models: {latency: {p50: 0.3, p99: 0.5}, max_in_flight: 4}
workers: {most: 1, concurrency: 4}
targets: {in_time_of_plain: ">= 0.1", calls_an_answer: 1.5}
""",
        "--compare",
        "impatience",
    )
    plain, untold, told = document["runs"]
    assert [run["variant"] for run in (plain, untold, told)] == ["plain service", "untold", "cancelled and merged"]
    plain, untold, told = (run["figures"] for run in (plain, untold, told))
    assert plain["customers"] == untold["customers"] == told["customers"] > 200
    assert plain["failed"] > 0, "its customers saw errors"
    assert untold["cancelled"] == untold["merged"] == 0
    assert told["cancelled"] > 0
    assert told["merged"] > 0
    assert told["calls_an_answer"] < untold["calls_an_answer"]
    assert told["calls_for_nobody"] < untold["calls_for_nobody"]
    assert "Customers answered before they left" in (shop.folder / "rehearsal.html").read_text()


async def test_what_a_topic_recorded_is_sent_again_on_a_given_kafka(shop: Shop, cluster: Cluster) -> None:
    async with ChatClient(cluster) as chat:
        await chat.send_many(new_turn(f"Question {n}", conversation_id=f"c-{n % 7}") for n in range(40))
    scenario = f"""
speed: 1
traffic: {{shape: recorded, topic: {cluster.topics.requests}}}
models: {{latency: {{p50: 0.1, p99: 0.2}}}}
workers: {{most: 1}}
"""
    document = await held(shop, scenario, "--kafka", cluster.kafka)
    assert document["runs"][0]["figures"]["total"] == 40
    (shop.folder / "sale.yaml").write_text(
        f"traffic: {{shape: recorded, topic: {cluster.topics.replies}, since: 2199-01-01}}"
    )
    empty = await rehearse(shop, "sale.yaml", "--kafka", cluster.kafka)
    assert empty.returncode == 1
    assert empty.stderr.endswith("has no turns in that time: nothing to send again\n")
    admin = AIOKafkaAdminClient(**cluster.connection())
    await admin.start()
    try:
        async with asyncio.timeout(20):
            while any(topic.startswith("rehearsal-") for topic in await admin.list_topics()):
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.yaml"], "none.yaml: cannot be read"),
        (["--shape", "round"], "traffic.shape"),
        (["--latency", "3"], "write p50=3,p99=20"),
        (["--peak", "many"], "'many' is no rate"),
        (["--targets", "none.yaml"], "--targets none.yaml"),
    ],
)
async def test_a_mistake_gets_one_clear_line(shop: Shop, arguments: list[str], says: str) -> None:
    done = await rehearse(shop, *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


async def test_what_cannot_be_held_is_said_before_anything_starts(shop: Shop) -> None:
    done = await rehearse(shop, "--real", ANTHROPIC_API_KEY="", OPENAI_API_KEY="")
    assert (done.returncode, done.stderr) == (1, "forebay: real models need ANTHROPIC_API_KEY or OPENAI_API_KEY\n")
    done = await rehearse(shop, "--kafka", "127.0.0.1:9", "--no-report")
    assert done.returncode == 1
    assert "Kafka at 127.0.0.1:9 does not answer" in done.stderr


@pytest.mark.takes(42)
async def test_the_demo_keeps_every_promise(shop: Shop) -> None:
    done = await asyncio.to_thread(shop.forebay, "demo", "--json", timeout_s=280)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["kept"]
    assert said["sent"] > 2_400
    assert said["lost"] == said["out_of_order"] == said["duplicates"] == said["forgotten"] == 0
    assert {"faq", "order", "simple"} <= said["routes"].keys()
