"""Metrics of a real worker and a real gateway: the figures that scaling and alerts rest on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
import pytest
from prometheus_client import REGISTRY

from forebay.gateway import Gateway
from forebay.gateway import metrics as gateway_metrics
from forebay.producers import ChatClient, new_turn
from forebay.rehearsal.model_api import Fault, ModelApi
from forebay.schemas import Cluster, Turn
from forebay.workers.engine.permit import Permit

from .conftest import Fleet, until
from .echo import Echo
from .gateway import serving


def value(name: str, **labels: str) -> float:
    """A sample as it is served; 0 where there is none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def about(cluster: Cluster, operation: str, topic: str, **more: str) -> Mapping[str, str]:
    return {
        "messaging_system": "kafka",
        "messaging_operation_name": operation,
        "messaging_destination_name": topic,
        **more,
    }


async def test_the_oldest_waiting_turn_and_what_was_fetched_and_sent(
    cluster: Cluster, fleet: Fleet, chat: ChatClient
) -> None:
    may = asyncio.Event()

    async def hold(_: Turn, __: Permit) -> None:
        await may.wait()

    worker = await fleet.start(answers=Echo(hold, permits=1), concurrency=1)
    worker.refresh_metrics()
    assert value("forebay_oldest_waiting_turn_seconds") == 0.0
    for number in range(3):
        await chat.send(new_turn("hello", conversation_id=f"c-{number}"))
    fetched = about(cluster, "poll", cluster.topics.requests, messaging_consumer_group_name="forebay-workers")
    await until(lambda: value("messaging_client_consumed_messages_total", **fetched) == 3)

    def waits_s() -> float:
        worker.refresh_metrics()
        return value("forebay_oldest_waiting_turn_seconds")

    first_s = waits_s()
    await until(lambda: waits_s() > first_s + 0.2)
    assert value("forebay_turns_waiting") == 2, "the one that was begun does not wait"
    may.set()
    await until(lambda: waits_s() == 0.0)
    sent = about(cluster, "send", cluster.topics.replies, error_type="")
    await until(lambda: value("messaging_client_sent_messages_total", **sent) == 3)
    done = about(
        cluster, "process", cluster.topics.requests, messaging_consumer_group_name="forebay-workers", error_type=""
    )
    await until(lambda: value("messaging_process_duration_seconds_count", **done) == 3)


async def test_the_share_of_refused_calls_can_be_read(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start()

    def calls(error: str) -> float:
        labels = {
            "gen_ai_operation_name": "chat",
            "gen_ai_provider_name": "anthropic",
            "gen_ai_request_model": "claude-haiku-4-5",
        }
        return value("gen_ai_client_operation_duration_seconds_count", error_type=error, **labels)

    before = calls("rate_limited"), calls("")
    model_api.add_fault(Fault.RATE_LIMIT, count=2, seconds=0)
    assert (await chat.ask("hello")).outcome == "answered"
    assert (calls("rate_limited") - before[0], calls("") - before[1]) == (2, 1)


async def test_a_gateway_tells_how_full_it_is(cluster: Cluster) -> None:
    async with (
        serving(cluster, gateway_turns_a_second=2.0) as gateway,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        assert used(gateway) == 0.0
        statuses = []
        for number in range(5):
            url = f"{gateway.url}/v1/conversations/c-{number}/turns"
            async with session.post(url, json={"text": "hello"}) as response:
                statuses.append(response.status)
        assert statuses == [202] * 4 + [429]
        assert used(gateway) > 0.8
    async with (
        serving(cluster, gateway_connections=2) as gateway,
        aiohttp.ClientSession() as session,
        session.get(f"{gateway.url}/v1/conversations/c-1/events"),
    ):
        assert used(gateway) == pytest.approx(0.5)


def used(gateway: Gateway) -> float:
    gateway.refresh_metrics()
    share: float = gateway_metrics.ADMISSION_USED._value.get()
    return share
