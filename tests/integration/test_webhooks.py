"""Webhooks on real Kafka, to real servers: order, retries, breaker, crashes, dead letters, tenants apart."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiokafka import AIOKafkaProducer
from standardwebhooks import Webhook

from forebay.operations import DeadLetters, Filter
from forebay.schemas import Cluster, Reply, encode
from forebay.schemas import headers as names
from forebay.workers.deliver_settings import DeliverSettings
from forebay.workers.engine.worker import Worker
from forebay.workers.flow.breaker import BreakerPolicy
from forebay.workers.flow.retry import RetryPolicy
from forebay.workers.webhooks.deliveries import Deliveries, DeliveryBounds
from forebay.workers.webhooks.destinations import read_destinations
from forebay.workers.webhooks.inbound_reply import replies_of
from forebay.workers.webhooks.sender import Sender

from .conftest import read_topic, until, until_async

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
QUICK = RetryPolicy(base_s=0.01, cap_s=0.05, retry_after_cap_s=60.0)


class Shop:
    """A shop's server: it notes each request, verifies it, and answers as it is told."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        """Bodies in the order of their arrival, with ``id``."""
        self.answer: Callable[[dict[str, Any]], web.Response] = lambda _: web.Response(status=204)
        self.hang = asyncio.Event()
        self.hang.set()
        self.port = 0

    def taken(self, conversation: str) -> list[str]:
        return [each["data"]["turn_id"] for each in self.seen if each["data"]["conversation_id"] == conversation]

    async def post(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        verified = Webhook(SECRET).verify(body, dict(request.headers))
        verified["id"] = request.headers["webhook-id"]
        self.seen.append(verified)
        await self.hang.wait()
        return self.answer(verified)


class Deliverer:
    """Deliverers of one test, in the test's own loop."""

    def __init__(self, cluster: Cluster, file: Path, stack: AsyncExitStack) -> None:
        self.cluster, self.file, self._stack = cluster, file, stack
        self.running: dict[Worker, tuple[asyncio.Task[None], Deliveries]] = {}

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    async def start(
        self,
        *,
        bounds: DeliveryBounds = DeliveryBounds(),
        breaker: BreakerPolicy = BreakerPolicy(failures=3, open_s=0.3),
        timeout_s: float = 5.0,
        **settings: Any,
    ) -> Worker:
        sender = Sender(50, timeout_s)
        deliveries = Deliveries(read_destinations(self.file), sender, bounds, retry=QUICK, breaker=breaker)
        engine = DeliverSettings(drain_s=5, **settings).engine()
        worker = Worker(self.cluster, engine, lambda _: deliveries, source=replies_of(self.cluster.topics))
        task = asyncio.create_task(worker.run())
        self.running[worker] = task, deliveries
        self._stack.push_async_callback(self.stop, worker)
        await until(lambda: task.done() or worker.ready() is None)
        return worker

    async def stop(self, worker: Worker) -> None:
        if worker in self.running:
            task, deliveries = self.running.pop(worker)
            worker.stop()
            deliveries.stop()
            await task

    async def crash(self, worker: Worker) -> None:
        """Ends it where it is: nothing more is committed, and the group is not told."""
        task, _ = self.running.pop(worker)
        worker._intake.commits.commit = _nothing  # type: ignore[method-assign]
        worker._intake._consumer._coordinator._maybe_leave_group = _nothing
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _nothing(*_: object, **__: object) -> None:
    return None


@pytest_asyncio.fixture
async def deliverer(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Deliverer]:
    async with AsyncExitStack() as stack:
        yield Deliverer(cluster, tmp_path / "webhooks.toml", stack)


@pytest_asyncio.fixture
async def shops() -> AsyncIterator[Callable[[], Any]]:
    async with AsyncExitStack() as stack:

        async def make() -> Shop:
            shop = Shop()
            app = web.Application()
            app.router.add_post("/replies", shop.post)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            shop.port = runner.addresses[0][1]
            stack.callback(shop.hang.set)
            return shop

        yield make


def destination(tenant: str | None, port: int, more: str = "") -> str:
    table = "default" if tenant is None else f"tenants.{tenant}"
    return (
        f'[{table}]\nurl = "http://127.0.0.1:{port}/replies"\nsecret = "{SECRET}"\n'
        f"allow_http = true\nallow_private = true\n{more}\n"
    )


def reply_of(number: int, conversation: str = "c-1", **fields: Any) -> Reply:
    given: dict[str, Any] = {"outcome": "answered", "text": f"answer {number}"}
    return Reply(
        turn_id=f"t-{number}",
        conversation_id=conversation,
        reply_id=f"r-{conversation}-{number}",
        created_at=datetime.now(UTC),
        **given | fields,
    )


async def publish(cluster: Cluster, *replies: Reply, tenant: str | None = None) -> None:
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        for reply in replies:
            headers = [(names.TENANT, tenant.encode())] if tenant else []
            await producer.send_and_wait(
                cluster.topics.replies, encode(reply), key=reply.conversation_id.encode(), headers=headers
            )


async def letters_of(cluster: Cluster) -> list[Any]:
    return await read_topic(cluster, cluster.topics.reply_dead_letters)


async def test_replies_come_signed_and_in_the_order_of_their_conversation(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    shop = await shops()
    flaky = Counter[str]()

    def answer(got: dict[str, Any]) -> web.Response:
        flaky[got["id"]] += 1
        return web.Response(status=503 if flaky[got["id"]] == 1 and got["data"]["turn_id"] == "t-3" else 200)

    shop.answer = answer
    deliverer.write(destination(None, shop.port))
    await publish(cluster, *(reply_of(number, f"c-{number % 3}") for number in range(12)))
    await deliverer.start()
    await until(lambda: len(flaky) == 12)
    for conversation in range(3):
        taken = list(dict.fromkeys(shop.taken(f"c-{conversation}")))
        assert taken == [f"t-{number}" for number in range(conversation, 12, 3)]
    assert shop.taken("c-0")[:3] == ["t-0", "t-3", "t-3"], "the next waits for the retry"
    assert await letters_of(cluster) == []
    assert await read_topic(cluster, cluster.topics.workers) == [], "it is no worker of the fleet"


async def test_after_a_crash_a_repeat_has_the_same_id(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    shop = await shops()
    shop.hang.clear()
    deliverer.write(destination(None, shop.port))
    await publish(cluster, *(reply_of(number) for number in range(3)))
    first = await deliverer.start()
    await until(lambda: len(shop.seen) == 1)
    await deliverer.crash(first)
    shop.hang.set()
    await deliverer.start()
    await until(lambda: "t-2" in shop.taken("c-1"))
    assert [each["id"] for each in shop.seen] == ["r-c-1-0", "r-c-1-0", "r-c-1-1", "r-c-1-2"]
    assert shop.seen[0]["data"] == shop.seen[1]["data"]


async def test_a_stop_while_a_destination_is_down_is_quick_and_leaves_its_replies(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    shop = await shops()
    shop.answer = lambda _: web.Response(status=500)
    deliverer.write(destination(None, shop.port))
    await publish(cluster, reply_of(0), reply_of(1))
    worker = await deliverer.start()
    await until(lambda: len(shop.seen) >= 3)
    async with asyncio.timeout(4.5):  # less than the drain's bound
        await deliverer.stop(worker)
    shop.answer = lambda _: web.Response(status=200)
    await deliverer.start()
    await until(lambda: shop.taken("c-1")[-1:] == ["t-1"])
    assert await letters_of(cluster) == []


async def test_a_tenant_whose_server_is_down_does_not_hold_the_others(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    down, up = await shops(), await shops()
    down.hang.clear()
    deliverer.write(destination("down", down.port) + destination("up", up.port))
    await publish(cluster, *(reply_of(number, f"d-{number}") for number in range(40)), tenant="down")
    await publish(cluster, *(reply_of(number, f"u-{number}") for number in range(10)), tenant="up")
    await deliverer.start(webhooks_concurrency=8, bounds=DeliveryBounds(at_once=4), timeout_s=60.0)
    await until(lambda: len(up.seen) == 10)
    assert len(down.seen) <= 4
    down.hang.set()
    await until(lambda: len(down.seen) == 40)


async def test_the_breaker_spares_a_server_that_fails(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    shop = await shops()
    shop.answer = lambda _: web.Response(status=500)
    deliverer.write(destination(None, shop.port))
    await publish(cluster, *(reply_of(number, f"c-{number}") for number in range(30)))
    worker = await deliverer.start(bounds=DeliveryBounds(at_once=2), breaker=BreakerPolicy(failures=3, open_s=3600))
    _, deliveries = deliverer.running[worker]
    target = deliveries._targets[None]
    await until(lambda: target.down(asyncio.get_running_loop().time()))
    await until(lambda: len(target.held) == 30)
    assert len(shop.seen) <= 4


async def test_what_a_server_refuses_or_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    shop = await shops()
    shop.answer = lambda got: web.Response(
        status={"t-0": 400, "t-1": 302, "t-2": 410}.get(got["data"]["turn_id"], 200), headers={"location": "/other"}
    )
    deliverer.write(destination("shop-eu", shop.port, 'events = ["answered"]'))
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        await producer.send_and_wait(cluster.topics.replies, b"\xff poison", key=b"c-1")
        odd = encode(reply_of(7, reply_id_is_no_header="x")).replace(b"r-c-1-7", b"r\\nx: y")
        await producer.send_and_wait(cluster.topics.replies, odd, key=b"c-1")
    await publish(cluster, *(reply_of(number) for number in range(3)), tenant="shop-eu")
    await publish(cluster, reply_of(3, outcome="expired", text=""), reply_of(4), tenant="shop-eu")
    await publish(cluster, reply_of(5), tenant="other")
    await publish(cluster, reply_of(6), tenant="shop-eu")
    await deliverer.start()
    await until(lambda: "t-6" in shop.taken("c-1"))
    assert shop.taken("c-1") == ["t-0", "t-1", "t-2", "t-4", "t-6"], "what nobody wants is left out"

    async def all_there() -> bool:
        return len(await letters_of(cluster)) == 5

    await until_async(all_there)
    letters = [dict(letter.headers) for letter in await letters_of(cluster)]
    assert Counter(letter["dlq.reason"].decode() for letter in letters) == {
        "undecodable": 1,
        "invalid": 1,
        "rejected_by_destination": 3,
    }
    refused = [letter for letter in letters if letter["dlq.reason"] == b"rejected_by_destination"]
    assert all(letter["dlq.topic"].decode() == cluster.topics.replies for letter in refused)
    assert [letter["dlq.attempts"] for letter in refused] == [b"1"] * 3
    assert b"127.0.0.1" in refused[0]["dlq.message"]


async def test_a_reply_that_gets_too_old_is_a_dead_letter_and_a_replay_delivers_it(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    shop = await shops()
    shop.answer = lambda _: web.Response(status=500)
    deliverer.write(destination("shop-eu", shop.port))
    await publish(cluster, reply_of(0), reply_of(1), tenant="shop-eu")
    first = await deliverer.start(bounds=DeliveryBounds(ttl_s=1.0))

    async def both_died() -> bool:
        return len(await letters_of(cluster)) == 2

    await until_async(both_died)
    await deliverer.stop(first)
    assert {dict(letter.headers)["dlq.reason"] for letter in await letters_of(cluster)} == {b"retries_exhausted"}
    shop.answer = lambda _: web.Response(status=200)
    shop.seen.clear()
    await deliverer.start()
    async with DeadLetters(cluster, "replies") as letters:
        found = [letter async for letter in letters.browse(Filter(tenant="shop-eu"), newest_first=False)]
        assert [letter.turn_id for letter in found] == ["t-0", "t-1"]
        done = await letters.replay(await letters.plan(Filter(tenant="shop-eu")))
    assert done.replayed == 2
    await until(lambda: len(shop.seen) == 2)
    assert [each["id"] for each in shop.seen] == ["r-c-1-0", "r-c-1-1"]


async def test_a_destination_that_is_down_keeps_so_many_replies_in_memory(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any]
) -> None:
    down, up = await shops(), await shops()
    down.answer = lambda _: web.Response(status=503, headers={"retry-after": "3000"})
    deliverer.write(destination("down", down.port) + destination("up", up.port))
    await publish(cluster, reply_of(0, "d-first"), tenant="down")
    worker = await deliverer.start(bounds=DeliveryBounds(most_waiting=5, at_once=2))
    target = deliverer.running[worker][1]._targets["down"]
    await until(lambda: target.down(asyncio.get_running_loop().time()))
    assert len(down.seen) == 1
    await publish(cluster, *(reply_of(number, f"d-{number}") for number in range(20)), tenant="down")
    await publish(cluster, *(reply_of(number, f"u-{number}") for number in range(20)), tenant="up")
    await until(lambda: len(up.seen) == 20)

    async def the_others_died() -> bool:
        return len(await letters_of(cluster)) == 16

    await until_async(the_others_died)
    assert {dict(letter.headers)["dlq.reason"] for letter in await letters_of(cluster)} == {b"destination_down"}
    assert len(down.seen) == 1, "what asks to be left alone is left alone"


async def test_a_name_that_leads_inside_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shops: Callable[[], Any]
) -> None:
    shop = await shops()
    file = tmp_path / "webhooks.toml"
    file.write_text(
        f'[default]\nurl = "http://shop.example:{shop.port}/replies"\nsecret = "{SECRET}"\nallow_http = true\n',
        encoding="utf-8",
    )
    found = read_destinations(file).default
    assert found is not None

    async def resolve(*_: object, **__: object) -> list[dict[str, Any]]:
        return [
            {"hostname": "shop.example", "host": "127.0.0.1", "port": shop.port, "family": 2, "proto": 0, "flags": 0}
        ]

    monkeypatch.setattr(aiohttp.resolver.DefaultResolver, "resolve", resolve)
    sender = Sender(5, 5.0)
    try:
        attempt = await sender.post(found, "r-1", b"{}")
        assert attempt.trouble == "connection"
        assert "allow_private" in attempt.says
        assert shop.seen == []
    finally:
        await sender.close()


def _command(cluster: Cluster, folder: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")},
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
        "FOREBAY_WEBHOOKS": str(folder / "webhooks.toml"),
        "FOREBAY_HEALTH_PORT": "0",
    }


async def _forebay(cluster: Cluster, folder: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "forebay.cli", *words),
        env=_command(cluster, folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_the_command_survives_a_kill_and_tells_no_secret(
    cluster: Cluster, deliverer: Deliverer, shops: Callable[[], Any], tmp_path: Path
) -> None:
    shop = await shops()
    deliverer.write(destination(None, shop.port))
    await publish(cluster, *(reply_of(number, f"c-{number % 5}") for number in range(50)))
    shop.answer = lambda got: web.Response(status=400 if got["data"]["turn_id"] == "t-49" else 200)
    killed = await _forebay(cluster, tmp_path, "deliver")
    await until(lambda: len(shop.seen) >= 5)
    killed.kill()
    said, _ = await killed.communicate()
    following = await _forebay(cluster, tmp_path, "deliver")
    await until(lambda: {each["data"]["turn_id"] for each in shop.seen} == {f"t-{number}" for number in range(50)})

    async def refused() -> bool:
        return len(await letters_of(cluster)) >= 1

    await until_async(refused)
    following.send_signal(signal.SIGTERM)
    more, _ = await following.communicate()
    assert following.returncode == 0, more
    assert b"whsec_" not in said + more
    for conversation in range(5):
        taken = list(dict.fromkeys(shop.taken(f"c-{conversation}")))
        assert taken == [f"t-{number}" for number in range(conversation, 50, 5)]
    listed = await _forebay(cluster, tmp_path, "dlq", "list", "--topic", "replies", "--json")
    lines, _ = await listed.communicate()
    assert b'"rejected_by_destination"' in lines, lines


async def test_a_wrong_file_ends_the_command_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "webhooks.toml").write_text('[default]\nurl = "https://shop.example"\nsecret = "hunter2"', "utf-8")
    done = await _forebay(cluster, tmp_path, "deliver")
    said, _ = await done.communicate()
    assert (done.returncode, said.count(b"\n")) == (2, 1), said
    assert b"default.secret: a secret is whsec_" in said
    assert b"hunter2" not in said
