"""The console's data on a real Kafka with real workers: its numbers are true, its actions are obeyed, and both need an admin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from forebay.gateway import Gateway
from forebay.producers import ChatClient, new_turn
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Cluster, Handoff, Said, encode
from forebay.workers.engine.worker import Worker

from .conftest import Fleet, read_topic, until_async
from .gateway import gateway, serving, token, write_keys

__all__ = ["gateway"]

POISON = [b"not json", b'{"turn_id": "<img src=x onerror=alert(1)>"}', b"\xff\xfe"]


class Api:
    """The console's data, as its page asks for it."""

    def __init__(self, url: str, http: aiohttp.ClientSession, key: str | None = None) -> None:
        self._url, self._http = f"{url}/console/api", http
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def get(self, path: str, status: int = 200, **query: str) -> Any:
        async with self._http.get(f"{self._url}/{path}", params=query, headers=self._headers) as response:
            assert response.status == status, await response.text()
            return await response.json(content_type=None)

    async def post(self, path: str, body: dict[str, Any], status: int = 200) -> Any:
        async with self._http.post(f"{self._url}/{path}", json=body, headers=self._headers) as response:
            assert response.status == status, await response.text()
            return await response.json(content_type=None)

    async def live(self) -> AsyncGenerator[tuple[str, Any], None]:
        """(event, data) as they come."""
        async with self._http.get(f"{self._url}/live", headers=self._headers) as response:
            assert response.status == 200
            event = ""
            async for line in response.content:
                if line.startswith(b"event: "):
                    event = line[7:].strip().decode()
                elif line.startswith(b"data: "):
                    yield event, json.loads(line[6:])

    async def seen(self, condition: Callable[[Any], bool], timeout_s: float = 40.0) -> Any:
        """The first snapshot of which this is true."""
        latest = None
        try:
            async with asyncio.timeout(timeout_s), aclosing(self.live()) as events:
                async for event, data in events:
                    if event == "snapshot":
                        latest = data
                        if condition(data):
                            return data
        except TimeoutError:
            raise AssertionError(f"not seen within {timeout_s} s; the latest: {json.dumps(latest)[:3000]}") from None
        raise AssertionError("the stream ended")

    async def letters(self, number: int) -> list[Any]:
        """The dead letters, once there are so many."""

        async def there() -> bool:
            return len((await self.get("dead-letters"))["letters"]) == number

        await until_async(there)
        found: list[Any] = (await self.get("dead-letters"))["letters"]
        return found


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture
async def api(gateway: Gateway, http: aiohttp.ClientSession) -> Api:
    return Api(gateway.url, http)


async def poison(cluster: Cluster, copies: int = 1) -> int:
    """Records that no worker can read; how many."""
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        for number in range(copies):
            for value in POISON:
                await producer.send_and_wait(cluster.topics.requests, value, key=b"c-%d" % number)
    return copies * len(POISON)


# Who may


async def test_only_admins_get_in(cluster: Cluster, tmp_path: Path, http: aiohttp.ClientSession) -> None:
    settings = {
        "gateway_keys": write_keys(tmp_path),
        "gateway_api_keys": "shop=k-shop",
        "gateway_admin_keys": "ada=k-ada",
    }
    async with serving(cluster, **settings) as gateway:
        paths = ("whoami", "live", "dead-letters", "dead-letters/0-0", "handoffs", "audit", "jobs/x")
        posts = ("commands", "dead-letters/replay", "dead-letters/purge", "jobs/x/stop")
        for key, status in ((None, 401), ("wrong", 401), ("k-shop", 403), (token("c-1"), 403)):
            api = Api(gateway.url, http, key)
            for path in paths:
                assert (await api.get(path, status))["status"] == status
            for path in posts:
                assert (await api.post(path, {}, status))["status"] == status
        assert (await Api(gateway.url, http, "k-ada").get("whoami"))["name"] == "ada"
        assert (await Api(gateway.url, http, token(user="eve", scope="admin")).get("whoami"))["name"] == "eve"
        in_address = {"access_token": token(scope="admin")}
        assert (await Api(gateway.url, http).get("whoami", 401, **in_address))["code"] == "unauthorised"
        async with http.get(f"{gateway.url}/console") as page:
            assert page.status == 200
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


async def test_no_other_page_may_call(cluster: Cluster, http: aiohttp.ClientSession) -> None:
    async with serving(cluster, gateway_cors="https://shop.example") as gateway:
        url = f"{gateway.url}/console/api/commands"
        for origin in ("https://shop.example", "null", "https://evil.example"):
            async with http.post(url, json={"command": "pause"}, headers={"Origin": origin}) as response:
                assert response.status == 403
        async with http.get(f"{gateway.url}/console/api/whoami", headers={"Origin": gateway.url}) as response:
            assert response.status == 200


# What is seen


async def test_the_live_numbers_are_true(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, api: Api, cluster: Cluster
) -> None:
    worker = await fleet.start()
    await asyncio.gather(
        *(chat.ask(f"Is it in stock? {number}", conversation_id=f"c-{number}") for number in range(30))
    )
    poisoned = await poison(cluster)
    await api.letters(poisoned)
    told = await api.seen(lambda now: now["workers"] and now["workers"][0]["outcomes"].get("answered") == 30)
    assert [one["id"] for one in told["workers"]] == [worker.name]
    assert told["outcomes"].get("answered", 30) <= 30
    assert [model["name"] for model in told["models"]] == ["anthropic/claude-haiku-4-5"]
    assert told["spending"]["hour_usd"] > 0
    assert told["gateway"]["consoles"] == 1
    idle = await api.seen(lambda now: now["now"]["in_flight"] == now["now"]["waiting"] == 0)
    assert len(idle["partitions"]) == 3
    assert {row[6] for row in idle["partitions"]} == {worker.name}
    records = await read_topic(cluster, cluster.topics.requests)
    assert sum(row[1] for row in idle["partitions"]) == len(records) == 30 + poisoned


@pytest.mark.takes(8)
async def test_what_waits_is_counted_and_grows_old(
    fleet: Fleet, chat: ChatClient, api: Api, model_api: ModelApi
) -> None:
    await fleet.start()
    await api.post("commands", {"command": "pause"}, 202)
    await api.seen(lambda now: bool(now["workers"]) and now["workers"][0]["state"] == "paused")
    await chat.send_many([new_turn("x", conversation_id=f"c-{number}") for number in range(200)])
    told = await api.seen(lambda now: now["now"]["waiting"] == 200 and now["now"]["oldest_s"] > 2)
    assert sum(row[2] for row in told["partitions"]) == 200
    assert told["now"]["in_flight"] == 0
    await api.post("commands", {"command": "resume"}, 202)
    await api.seen(lambda now: now["now"]["waiting"] == 0 and now["now"]["in_flight"] == 0)
    async with aclosing(api.live()) as events:
        event, history = await anext(events)
    assert event == "history"
    assert max(history["waiting"]) == 200
    assert max(history["offered"]) > 20
    assert max(history["answered"]) > 0
    assert max(value for value in history["queued_p99"] if value is not None) > 1_000


async def test_ten_thousand_waiting_turns_cost_the_gateway_little(
    fleet: Fleet, chat: ChatClient, api: Api, model_api: ModelApi
) -> None:
    await fleet.start()
    await api.post("commands", {"command": "pause"}, 202)
    await api.seen(lambda now: bool(now["workers"]) and now["workers"][0]["state"] == "paused")
    await chat.send_many([new_turn("x", conversation_id=f"c-{number % 500}") for number in range(10_000)])
    await api.seen(lambda now: now["now"]["waiting"] == 10_000)
    costs = [(await api.seen(lambda _: True))["gateway"]["sample_ms"] for _ in range(3)]
    assert min(costs) < 5.0, costs
    assert (await api.get("dead-letters"))["letters"] == []


async def test_all_consoles_are_told_the_same(api: Api) -> None:
    async def three() -> list[Any]:
        found = []
        async with aclosing(api.live()) as events:
            async for event, data in events:
                if event == "snapshot":
                    found.append(data["at"])
                if len(found) == 4:
                    return found[1:]
        return found

    first, second = await asyncio.gather(three(), three())
    assert set(first) & set(second)
    assert all(0.8 < later - sooner < 5 for sooner, later in pairwise(first))


# Commands


async def test_pauses_and_drains_are_obeyed_and_audited(fleet: Fleet, api: Api, model_api: ModelApi) -> None:
    first, second = await fleet.start(), await fleet.start()

    def state(now: Any, worker: Worker) -> str | None:
        return next((one["state"] for one in now["workers"] if one["id"] == worker.name), None)

    await api.seen(lambda now: len(now["workers"]) == 2)
    with capture_logs() as logs:
        await api.post("commands", {"command": "pause", "worker": first.name}, 202)
        await api.seen(lambda now: (state(now, first), state(now, second)) == ("paused", "working"))
        await api.post("commands", {"command": "resume", "worker": first.name}, 202)
        await api.post("commands", {"command": "pause", "partition": 2}, 202)
        await api.seen(
            lambda now: [row[0] for row in now["partitions"] if row[7]] == [2] and state(now, first) == "working"
        )
        await api.post("commands", {"command": "resume"}, 202)
        await api.post("commands", {"command": "drain", "worker": second.name}, 202)
        await api.seen(lambda now: [one["id"] for one in now["workers"]] == [first.name])
        assert (
            "no worker nobody" in (await api.post("commands", {"command": "drain", "worker": "nobody"}, 404))["detail"]
        )
        assert "no partition 77" in (await api.post("commands", {"command": "pause", "partition": 77}, 404))["detail"]
        assert (await api.post("commands", {"command": "drain", "partition": 1}, 400))["status"] == 400
    actions = [line for line in logs if line["event"] == "console.action"]
    assert [(line["what"], line["outcome"].split(":")[0]) for line in actions] == [
        ("pause", "said"), ("resume", "said"), ("pause", "said"), ("resume", "said"), ("drain", "said"),
        ("drain", "failed"), ("pause", "failed"), ("drain", "failed"),
    ]  # fmt: skip
    assert {line["who"] for line in actions} == {"anybody"}
    shown = (await api.get("audit"))["actions"]
    assert len(shown) == 8
    assert [one["source"] for one in shown] == ["gateway"] * 3 + ["topic"] * 5
    assert (shown[3]["what"], shown[3]["on"]) == ("drain", f"worker {second.name}")
    await fleet.running.pop(second)


# Dead letters


async def test_dead_letters_are_listed_and_shown(fleet: Fleet, api: Api, cluster: Cluster, model_api: ModelApi) -> None:
    await fleet.start()
    letters = await api.letters(await poison(cluster, 4))
    assert {letter["reason"] for letter in letters} == {"undecodable", "invalid"}
    page = await api.get("dead-letters", limit="5")
    rest = await api.get("dead-letters", limit="50", after=page["next"])
    assert [one["id"] for one in page["letters"] + rest["letters"]] == [one["id"] for one in letters]
    assert rest["next"] is None
    only = await api.get("dead-letters", reason="invalid")
    assert {one["reason"] for one in only["letters"]} == {"invalid"}
    assert len((await api.get("dead-letters", conversation="c-2"))["letters"]) == 3
    assert (await api.get("dead-letters", since="2099-01-01T00:00:00Z"))["letters"] == []
    hostile = await api.get(f"dead-letters/{only['letters'][0]['id']}")
    assert hostile["value"] == POISON[1].decode()
    assert dict(hostile["headers"])["dlq.reason"] == "invalid"
    for path, query, status in (
        ("dead-letters", {"after": "x"}, 400), ("dead-letters", {"limit": "0"}, 400), ("dead-letters", {"since": "now"}, 400),
        ("dead-letters", {"since": "2026-01-01T00:00:00"}, 400), ("dead-letters/99-1", {}, 404), ("dead-letters/x", {}, 400),
    ):  # fmt: skip
        assert (await api.get(path, status, **query))["status"] == status


async def test_a_replay_is_planned_runs_and_is_audited(
    fleet: Fleet, api: Api, cluster: Cluster, model_api: ModelApi
) -> None:
    await fleet.start()
    await api.letters(await poison(cluster, 4))
    wanted = {"reasons": ["invalid"]}
    assert (await api.post("dead-letters/replay", {"dry_run": True}, 400))["code"] == "invalid"
    plan = await api.post("dead-letters/replay", {**wanted, "dry_run": True})
    assert plan == {"letters": 4, "reasons": {"invalid": 4}, "replayed_before": 0, "worn_out": 0}
    assert len(await api.letters(12)) == 12, "a dry run sends nothing"
    with capture_logs() as logs:
        job = await api.post("dead-letters/replay", {**wanted, "dry_run": False}, 202)
        told = await api.seen(lambda now: now["job"] is not None and now["job"]["ended_at"] is not None)
        assert told["job"]["job_id"] == job["job_id"]
        assert (told["job"]["state"], told["job"]["done"], told["job"]["planned"]) == ("done", 4, 4)
    lines = [line for line in logs if line["event"] == "console.action"]
    assert [(line["what"], line["on"], line["outcome"]) for line in lines] == [
        ("replay", "dead letters: reasons invalid", "begun"),
        ("replay", "dead letters: reasons invalid", "done: sent 4 of 4"),
    ]
    assert [one["outcome"] for one in (await api.get("audit"))["actions"]] == ["done: sent 4 of 4", "begun"]
    letters = await api.letters(16)  # they died again, and say so
    assert sum(letter["replayed"] for letter in letters) == 4
    assert sum(letter["replays"] == 1 for letter in letters) == 4
    one = next(letter["id"] for letter in letters if not letter["replayed"])
    assert (await api.post("dead-letters/replay", {"ids": [one], "dry_run": True}))["letters"] == 1


async def test_a_slow_replay_shows_progress_and_can_be_stopped(
    fleet: Fleet, api: Api, cluster: Cluster, model_api: ModelApi
) -> None:
    await fleet.start()
    await api.letters(await poison(cluster, 10))
    job = await api.post("dead-letters/replay", {"everything": True, "rate": 2, "dry_run": False}, 202)
    told = await api.seen(lambda now: now["job"]["done"] >= 2)
    assert (told["job"]["state"], told["job"]["planned"]) == ("running", 30)
    second = await api.post("dead-letters/replay", {"everything": True, "dry_run": False}, 409)
    assert second["job"]["job_id"] == job["job_id"]
    assert (await api.post("dead-letters/purge", {"everything": True, "dry_run": False, "confirm": 1}, 409))["job"]
    await api.post(f"jobs/{job['job_id']}/stop", {})
    ended = (await api.seen(lambda now: now["job"]["ended_at"] is not None))["job"]
    assert ended["state"] == "stopped"
    assert 2 <= ended["done"] < 30
    assert (await api.get(f"jobs/{job['job_id']}"))["done"] == ended["done"]
    await api.get("jobs/other", 404)


async def test_a_purge_wants_the_number_repeated(fleet: Fleet, api: Api, cluster: Cluster, model_api: ModelApi) -> None:
    await fleet.start()
    await api.letters(await poison(cluster, 2))
    await api.post("dead-letters/purge", {"dry_run": True}, 400)
    plan = await api.post("dead-letters/purge", {"everything": True, "dry_run": True})
    assert plan == {"letters": 6, "replayed": 0, "reasons": {"undecodable": 4, "invalid": 2}}
    await api.post("dead-letters/purge", {"everything": True, "dry_run": False}, 400)
    refused = await api.post("dead-letters/purge", {"everything": True, "dry_run": False, "confirm": 5}, 409)
    assert refused["detail"] == "it is 6 letters now, and 5 were confirmed: look again"
    assert len(await api.letters(6)) == 6
    with capture_logs() as logs:
        done = await api.post("dead-letters/purge", {"everything": True, "dry_run": False, "confirm": 6})
    assert (done["state"], done["done"]) == ("done", 6)
    assert [line["outcome"] for line in logs if line["event"] == "console.action"] == ["done: deleted 6"]
    assert (await api.get("dead-letters"))["letters"] == []


async def test_a_gateway_that_leaves_ends_replays_and_streams(
    fleet: Fleet, cluster: Cluster, http: aiohttp.ClientSession, model_api: ModelApi
) -> None:
    await fleet.start()
    async with serving(cluster) as gateway:
        api = Api(gateway.url, http)
        await api.letters(await poison(cluster, 10))
        await api.post("dead-letters/replay", {"everything": True, "rate": 1, "dry_run": False}, 202)
        events = api.live()
        await anext(events)
        began = asyncio.get_running_loop().time()
    async for _ in events:
        pass
    assert asyncio.get_running_loop().time() - began < 15


# Hand-offs


async def test_handoffs_are_listed_once_with_the_command(api: Api, cluster: Cluster) -> None:
    said = (Said(role="user", text="<b>hello</b>"),)
    given = {"turn_id": "t", "reason": "over_budget", "transcript": said, "created_at": "2026-11-11T00:00:00Z"}
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        for number in (0, 1, 1, 2):
            handoff = Handoff.model_validate({"handoff_id": f"h-{number}", "conversation_id": f"c {number}", **given})
            await producer.send_and_wait(cluster.topics.handoffs, encode(handoff), key=b"c", partition=0)
        await producer.send_and_wait(cluster.topics.handoffs, b"{", key=b"c", partition=0)
    told = await api.get("handoffs")
    assert [one["handoff_id"] for one in told["handoffs"]] == ["h-2", "h-1", "h-0"]
    assert told["handoffs"][0]["command"] == "forebay handoffs return -- 'c 2'"
    assert told["handoffs"][0]["transcript"] == [{"role": "user", "text": "<b>hello</b>"}]
    assert told["unreadable"] == 1
