"""How far one POST of a turn goes through our code at the gateway: calls, functions, files, file switches and depth.

    python -m benchmarks.post_hops

A gateway on an embedded Kafka takes some turns that warm the caches; then `sys.setprofile` follows the task that serves one
more, from our first middleware to the response 202. What other tasks do meanwhile, such as the tail, does not count.
"""

from __future__ import annotations

import asyncio
import os
from types import FrameType
from typing import Any

import aiohttp
import structlog

from benchmarks.call_profile import Profile
from forebay.gateway import Gateway, GatewaySettings
from forebay.gateway.http.trace_middleware import traced
from forebay.producers import TopicSettings, apply_topics
from forebay.rehearsal.servers.kafka import EmbeddedKafka
from forebay.schemas import Cluster

WARM_UP = 8


class PostProfile(Profile):
    """Notes the calls of the task that serves the next request."""

    def __init__(self) -> None:
        super().__init__()
        self._task: asyncio.Task[Any] | None = None

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call":
            return
        if self._task is None and frame.f_code is traced.__code__:
            self._task = asyncio.current_task()
        if self._task is not None and asyncio.current_task() is self._task:
            super()._event(frame, event, argument)


async def measured(cluster: Cluster) -> Profile:
    """The calls of one POST."""
    settings = GatewaySettings(gateway_open=True, gateway_port=0, health_port=0)
    async with Gateway.running(cluster, settings) as gateway, aiohttp.ClientSession() as session:
        for number in range(WARM_UP):
            await _post(session, f"{gateway.url}/v1/conversations/c-{number}/turns")
        with PostProfile() as profile:
            await _post(session, f"{gateway.url}/v1/conversations/c-{WARM_UP}/turns")
    return profile


async def _post(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url, json={"text": "Do you deliver on Sundays?"}) as response:
        assert response.status == 202, await response.text()
        await response.read()


async def main() -> None:
    """Measures on topics of its own."""
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    with EmbeddedKafka.running() as kafka:
        cluster = Cluster(kafka=kafka.bootstrap_servers, topic_prefix=f"hops-{os.getpid()}")
        await apply_topics(cluster, TopicSettings())
        profile = await measured(cluster)
    profile.print()


if __name__ == "__main__":
    asyncio.run(main())
