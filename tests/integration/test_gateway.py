"""The gateway over real HTTP and real Kafka: turns in, events out, and going on where one was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from forebay.gateway import Gateway
from forebay.gateway.stream import hub as hubs
from forebay.gateway.stream.record import Stream
from forebay.rehearsal.model_api import ModelApi, ModelApiSettings
from forebay.schemas import Cluster, decode_turn, new_id
from forebay.workers.assistants import Assistant

from .conftest import Fleet, read_topic, until
from .gateway import Hand, serving, token, write_keys


class Reader:
    """A client that listens to a conversation."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.last_id: str | None = None

    async def next(self, *names: str) -> dict[str, Any]:
        """The data of the next event of one of these names."""
        async with asyncio.timeout(30):
            while True:
                name, data = await self._event()
                self.seen.append((name, data))
                if name in names:
                    return data

    async def _event(self) -> tuple[str, dict[str, Any]]:
        while True:
            fields: dict[str, str] = {}
            while line := (await self._response.content.readuntil(b"\n")).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            self.last_id = fields.get("id", self.last_id)
            if "event" in fields:
                return fields["event"], orjson.loads(fields["data"])


class Client:
    """Talks to one gateway."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession, **headers: str) -> None:
        self._base, self._session, self._headers = f"{gateway.url}/v1", session, headers
        self._gateway = gateway

    async def queue_known(self) -> None:
        """Until the gateway has seen where the workers stand."""
        await until(lambda: bool(self._gateway._context.hub.backlogs))

    def _url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any], Any]:
        """(status, JSON, headers)."""
        given = self._headers | headers
        async with self._session.request(method, self._url(path), json=body, headers=given) as response:
            return response.status, await response.json(content_type=None), response.headers

    async def turn(self, conversation: str, text: str = "Hello", **fields: Any) -> dict[str, Any]:
        """A turn that is accepted."""
        status, told, _ = await self.call("POST", f"/conversations/{conversation}/turns", {"text": text, **fields})
        assert status in (200, 202), told
        return told

    @asynccontextmanager
    async def reading(self, conversation: str, last_id: str | None = None) -> AsyncIterator[Reader]:
        """An open event stream."""
        headers = self._headers | ({"Last-Event-ID": last_id} if last_id else {})
        async with self._session.get(self._url(f"/conversations/{conversation}/events"), headers=headers) as response:
            assert response.status == 200, await response.text()
            reader = Reader(response)
            await reader.next("open")
            yield reader


@pytest_asyncio.fixture
async def slow_model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Answers in 0.3 s, so that with one permit turns wait."""
    async with ModelApi(ModelApiSettings(latency_ms=300.0)) as api:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "simulated")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        yield


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest_asyncio.fixture
async def client(cluster: Cluster, session: aiohttp.ClientSession) -> AsyncIterator[Client]:
    async with serving(cluster) as gateway:
        yield Client(gateway, session)


async def test_a_turn_is_accepted_answered_and_found_again(client: Client, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()
    told = await client.turn("c-1", "Is SKU001 in stock?", wait=20)
    assert told["status"] == "done"
    assert told["reply"]["outcome"] == "answered"
    again = [
        await client.call("POST", "/conversations/c-1/turns?wait=20", {"text": "And the blue one?"}),
        await client.call("POST", "/conversations/c-1/turns", {"text": "And the red one?"}, Prefer="wait=20"),
    ]
    assert [answer["status"] for _, answer, _ in again] == ["done", "done"]
    assert (await client.call("POST", "/conversations/c-1/turns?wait=x", {"text": "x"}))[0] == 400
    status, stands, _ = await client.call("GET", f"/turns/{told['turn_id']}")
    assert (status, stands["status"], stands["reply"]) == (200, "done", told["reply"])


async def test_events_tell_a_turn_from_its_place_to_its_reply(
    client: Client, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    await client.queue_known()
    async with client.reading("c-1") as reader:
        told = await client.turn("c-1", "Is SKU001 in stock?", stream=True)
        done = await reader.next("done")
        assert done["turn_id"] == told["turn_id"]
        names = [name for name, _ in reader.seen]
        assert names[0] == "open"
        assert names.index("queued") < names.index("started") < names.index("delta") < names.index("done")
        words = "".join(data["text"] for name, data in reader.seen if name == "delta")
        assert words == done["reply"]["text"]


async def test_a_gateway_that_serves_silences_no_logger_of_ours(client: Client) -> None:
    """aiohttp's own log is quiet: what is no HTTP would fill it."""
    assert logging.getLogger("forebay.aiohttp").level == logging.CRITICAL
    for module in ("forebay.gateway.http.access", "forebay.gateway.http.submission", "forebay.gateway.stream.tail"):
        assert logging.getLogger(module).isEnabledFor(logging.WARNING)


async def test_what_kafka_did_not_acknowledge_is_not_accepted(cluster: Cluster, client: Client) -> None:
    told = await client.turn("c-1")
    (record,) = await read_topic(cluster, cluster.topics.requests)
    turn = decode_turn(record.value, record.key)
    assert (turn.turn_id, turn.conversation_id, turn.text, turn.stream) == (told["turn_id"], "c-1", "Hello", False)
    assert told["status"] == "queued"
    assert told["place"] is None  # no worker has ever been here


async def test_a_repeated_post_is_one_turn(cluster: Cluster, client: Client, session: aiohttp.ClientSession) -> None:
    path = "/conversations/c-1/turns"
    by_id = [await client.call("POST", path, {"text": "a", "turn_id": "t-1"}) for _ in range(2)]
    assert {status for status, _, _ in by_id} == {202}
    by_key = await asyncio.gather(
        *(client.call("POST", path, {"text": "b"}, **{"Idempotency-Key": "k"}) for _ in range(5))
    )
    assert len({told["turn_id"] for _, told, _ in by_key}) == 1
    assert len(await read_topic(cluster, cluster.topics.requests)) == 2
    status, problem, _ = await client.call("POST", path, {"text": "c"}, **{"Idempotency-Key": "k"})
    assert (status, problem["code"]) == (409, "conflict")
    async with serving(cluster) as other:
        _, told, _ = await Client(other, session).call("POST", path, {"text": "b"}, **{"Idempotency-Key": "k"})
    assert told["turn_id"] == by_key[0][1]["turn_id"]
    _, elsewhere, _ = await client.call("POST", "/conversations/c-2/turns", {"text": "b"}, **{"Idempotency-Key": "k"})
    assert elsewhere["turn_id"] != told["turn_id"]


async def test_any_gateway_goes_on_from_an_event_id(
    cluster: Cluster, client: Client, session: aiohttp.ClientSession, hand: Hand
) -> None:
    turn = ("c-1", (await client.turn("c-1", stream=True))["turn_id"])
    async with client.reading("c-1") as reader:
        await hand.delta(turn, 0, "one ")
        await hand.delta(turn, 1, "two ")
        assert (await reader.next("delta"))["text"] == "one "
        cut_off = reader.last_id
    async with serving(cluster) as other, Client(other, session).reading("c-1", cut_off) as reader:
        assert (await reader.next("delta"))["sequence"] == 1
        await hand.delta(turn, 2, "three")
        assert (await reader.next("delta"))["text"] == "three"
        cut_off = reader.last_id
    await hand.reply(turn, "one two three")
    await hand.reply(("c-1", "t-2"), "next")
    async with client.reading("c-1", cut_off) as reader:
        assert [(await reader.next("done", "delta"))["reply"]["text"] for _ in range(2)] == ["one two three", "next"]


async def test_what_is_older_than_its_memory_a_gateway_reads_back_from_kafka(
    cluster: Cluster, session: aiohttp.ClientSession, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = [await hand.reply((f"c-{number % 3}", f"t-{number}"), f"{number}") for number in range(30)]
    for number in range(3):
        await hand.delta(("c-1", "t-late"), number, f"{number}")
    monkeypatch.setattr("forebay.gateway.stream.tail._BEGIN_S", -60.0)  # it remembers nothing of what was
    async with serving(cluster) as gateway:
        client = Client(gateway, session)

        async def read(conversation: str) -> list[str]:
            async with client.reading(conversation, "0-0") as reader:
                return [(await reader.next("done"))["reply"]["reply_id"] for _ in range(10)]

        found = await asyncio.gather(*(read(f"c-{number % 3}") for number in range(12)))
        for number, ids in enumerate(found):
            assert ids == [reply.reply_id for reply in replies[number % 3 :: 3]]
        async with client.reading("c-1", "0-0") as reader:
            assert [(await reader.next("delta"))["sequence"] for _ in range(3)] == [0, 1, 2]
            await hand.reply(("c-1", "t-live"), "live")
            while (await reader.next("done"))["turn_id"] != "t-live":
                continue
        _, stands, _ = await client.call("GET", "/turns/t-4?conversation_id=c-1")
        assert stands["reply"]["text"] == "4"
        status, _, _ = await client.call("GET", "/turns/t-4?conversation_id=c-2")
        assert status == 404


async def test_while_records_pour_in_readers_come_and_go_and_miss_nothing(
    cluster: Cluster, client: Client, session: aiohttp.ClientSession, hand: Hand
) -> None:
    async with serving(cluster) as other:
        clients, seen, last_id = [client, Client(other, session)], list[str](), "0-0"
        writing = asyncio.create_task(_write(hand, 120))
        hop = 0
        while len(seen) < 120:
            hop += 1
            async with clients[hop % 2].reading("c-1", last_id) as reader:
                for _ in range(min(7, 120 - len(seen))):
                    seen.append((await reader.next("done"))["turn_id"])
                last_id = reader.last_id or last_id
        await writing
    assert seen == [f"t-{number}" for number in range(120)]


async def _write(hand: Hand, count: int) -> None:
    for number in range(count):
        await hand.delta(("c-1", f"t-{number}"), 0, "word")
        await hand.reply(("c-1", f"t-{number}"), "words")
        await hand.reply((f"other-{number}", f"o-{number}"), "not yours")


async def test_topics_that_were_made_anew_do_not_silence_a_reader(client: Client, hand: Hand) -> None:
    async with client.reading("c-1", "99999-99999") as reader:
        await hand.reply(("c-1", "t-1"), "Hello")
        assert (await reader.next("done"))["turn_id"] == "t-1"


async def test_a_reader_that_does_not_read_gets_the_whole_reply(cluster: Cluster, client: Client, hand: Hand) -> None:
    word = "word " * 3000
    async with client.reading("c-1") as slow, client.reading("c-1") as quick:
        for number in range(400):
            await hand.delta(("c-1", "t-1"), number, word)
        await hand.reply(("c-1", "t-1"), "whole")
        await quick.next("done")
        assert (await slow.next("done"))["reply"]["text"] == "whole"
        told = [data["sequence"] for name, data in slow.seen if name == "delta"]
        assert told == list(range(len(told)))
        assert len(told) < 400


async def test_a_heartbeat_keeps_the_event_id_young(
    client: Client, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "BEAT_S", 0.3)
    async with client.reading("c-1") as reader:
        for number in range(30):
            await hand.reply((f"c-{number}", f"t-{number}"), "not yours")
        begun = reader.last_id
        task = asyncio.create_task(reader.next("done"))
        await until(lambda: reader.last_id != begun)
        await hand.reply(("c-1", "mine"), "mine")
        while (await task)["turn_id"] != "mine":
            task = asyncio.create_task(reader.next("done"))


async def test_the_queue_is_told_while_it_becomes_shorter(client: Client, fleet: Fleet, slow_model: None) -> None:
    await fleet.start(concurrency=1)
    sent = [await client.turn(f"c-{number % 3}", f"turn {number}") for number in range(19)]
    last = sent[-1]
    async with client.reading("c-0") as reader:
        done = await reader.next("done")
        while done["turn_id"] != last["turn_id"]:
            done = await reader.next("done")
    places = [data["ahead"] for name, data in reader.seen if name == "queued" and data["turn_id"] == last["turn_id"]]
    assert places
    assert places[0] > 0
    assert all(ahead >= 0 for ahead in places)


async def test_a_turn_that_would_expire_before_its_answer_is_refused_at_once(
    client: Client, fleet: Fleet, slow_model: None
) -> None:
    worker = await fleet.start(concurrency=1)
    await client.turn("c-1", wait=20)
    for number in range(60):
        await client.turn(f"c-{number}", f"turn {number}")
    soon = "2020-01-01T00:00:00Z"  # over already: its reply will say so
    status, _, _ = await client.call("POST", "/conversations/c-1/turns", {"text": "late", "expires_at": soon})
    assert status == 202
    refused: list[Any] = []

    async def busy() -> bool:
        from datetime import UTC, datetime, timedelta

        body = {"text": "hurry", "expires_at": (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()}
        refused[:] = await client.call("POST", "/conversations/c-7/turns", body)
        return bool(refused[0] == 503)

    async with asyncio.timeout(20):
        while not await busy():
            await asyncio.sleep(0.05)
    assert refused[1]["code"] == "busy"
    assert refused[1]["estimated_wait_s"] > 0.2
    assert int(refused[2]["Retry-After"]) >= 1
    await fleet.crash(worker)  # the others need no answer


async def test_the_faq_answers_what_would_expire_before_a_model_came_to_it(
    cluster: Cluster, session: aiohttp.ClientSession, fleet: Fleet, slow_model: None
) -> None:
    faq = str(Path(__file__).parents[2] / "rehearsal" / "forebay" / "rehearsal" / "shop" / "faq.yaml")
    worker = await fleet.start(
        concurrency=1, assistant=Assistant(instructions="A shop.", model="claude-haiku-4-5", faq=faq)
    )
    async with serving(cluster, gateway_when_late="faq", turn_ttl_s=1.0) as gateway:
        client = Client(gateway, session)
        await client.turn("c-1", wait=20)
        for number in range(60):
            status, _, _ = await client.call("POST", f"/conversations/w-{number}/turns", {"text": f"turn {number}"})
            assert status == 202

        async def crowded() -> bool:
            return (gateway._context.hub.entry("f-1").wait_s or 0.0) > 2.0

        async with asyncio.timeout(20):
            while not await crowded():
                await asyncio.sleep(0.02)
        known = await client.turn("f-1", "How long does delivery take?", wait=20)
        unknown = await client.turn("f-2", "Compare the two drones for me, please", wait=20)
    assert (known["reply"]["outcome"], known["reply"]["route"]) == ("answered", "faq")
    assert (unknown["reply"]["outcome"], unknown["reply"]["attempts"]) == ("expired", 0)
    await fleet.crash(worker)


async def test_websocket_turns_events_and_resuming(
    cluster: Cluster, client: Client, session: aiohttp.ClientSession, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    url = f"{client._base}/conversations/c-1/ws"
    async with session.ws_connect(url) as socket:
        assert (await socket.receive_json())["type"] == "open"
        for text in ("Hello", "Again"):
            await socket.send_json({"type": "turn", "text": text})
        seen = await _until_done(socket, 2)
        kinds = [message["type"] for message in seen]
        assert kinds.count("accepted") == 2
        assert "delta" in kinds
        last_id = next(message["id"] for message in seen if message["type"] == "done")
        for wrong in ("nonsense", "[]", '{"type":"turn"}', '{"type":"sing"}', '{"type":"confirm"}', "\x00"):
            await socket.send_str(wrong)
            async with asyncio.timeout(10):
                error = await socket.receive_json()
                while error["type"] != "error":
                    error = await socket.receive_json()
            assert (error["status"], error["code"]) == (400, "invalid")
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json())["type"] == "heartbeat"
    async with session.ws_connect(f"{url}?last_event_id={last_id}") as socket:
        seen = await _until_done(socket, 1)
        assert [message["reply"]["text"].count("Again") > 0 for message in seen if message["type"] == "done"] == [True]


async def _until_done(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while [message["type"] for message in seen].count("done") < count:
            seen.append(await socket.receive_json())
    return seen


async def test_a_gateway_that_leaves_says_so_and_finishes_what_it_began(
    cluster: Cluster, session: aiohttp.ClientSession, hand: Hand
) -> None:
    async with AsyncExitStack() as leaving:
        gateway = await leaving.enter_async_context(serving(cluster))
        client = Client(gateway, session)
        socket = await leaving.enter_async_context(session.ws_connect(f"{client._base}/conversations/c-1/ws"))
        await socket.receive_json()
        async with session.get(f"{client._base}/conversations/c-1/events") as events:
            await events.content.readuntil(b"event: open")
            closing = asyncio.create_task(_leave(gateway))
            async with asyncio.timeout(10):
                await events.content.read()  # the stream ends in order
                message = await socket.receive()
            await closing
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)


async def _leave(gateway: Gateway) -> None:
    await gateway._leave()


@asynccontextmanager
async def guarded(
    cluster: Cluster, folder: Path, session: aiohttp.ClientSession, **settings: Any
) -> AsyncIterator[Gateway]:
    async with serving(
        cluster, gateway_keys=write_keys(folder), gateway_api_keys="shop=server-key", **settings
    ) as made:
        yield made


async def test_a_token_opens_its_conversations_and_nothing_else(
    cluster: Cluster, tmp_path: Path, session: aiohttp.ClientSession, hand: Hand
) -> None:
    async with guarded(cluster, tmp_path, session) as gateway:
        mine = Client(gateway, session, Authorization=f"Bearer {token('c-1', tenant='shop-eu')}")
        told = await mine.turn("c-1")
        turn = decode_turn((await read_topic(cluster, cluster.topics.requests))[0].value)
        assert (turn.user_id, turn.tenant) == ("u-1", "shop-eu")
        for method, path in (
            ("POST", "/conversations/c-2/turns"),
            ("POST", "/conversations/c-2/confirm"),
            ("GET", "/conversations/c-2/events"),
        ):
            status, problem, _ = await mine.call(
                method, path, {"text": "Hello", "action_id": "a", "accept": True} if method == "POST" else None
            )
            assert (status, problem["code"]) == (403, "forbidden"), path
        for body in (
            {"text": "x", "user_id": "u-2"},
            {"text": "x", "tenant": "other"},
            {"text": "x", "priority": "high"},
        ):
            assert (await mine.call("POST", "/conversations/c-1/turns", body))[0] == 403
        server = Client(gateway, session, Authorization="Bearer server-key")
        secret = await server.turn("c-2", "secret", user_id="u-2", priority="high")
        assert (await mine.call("GET", f"/turns/{secret['turn_id']}"))[0] == 404
        assert (await mine.call("GET", f"/turns/{secret['turn_id']}?conversation_id=c-2"))[0] == 404
        assert (await server.call("GET", f"/turns/{secret['turn_id']}"))[0] == 200
        assert (await mine.call("GET", f"/turns/{told['turn_id']}"))[0] == 200
        nobody = Client(gateway, session)
        assert (await nobody.call("GET", f"/turns/{told['turn_id']}"))[0] == 401
        assert (await nobody.call("GET", "/turns/x?access_token=server-key"))[0] == 401
        async with mine.reading("c-1", told["event_id"]) as reader:
            await hand.reply(("c-2", secret["turn_id"]), "secret")
            await hand.reply(("c-1", told["turn_id"]), "mine")
            assert (await reader.next("done"))["reply"]["text"] == "mine"
            assert "secret" not in str(reader.seen)


async def test_a_websocket_says_by_its_close_code_why_it_is_closed(
    cluster: Cluster, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with guarded(cluster, tmp_path, session, gateway_user_connections=1) as gateway:
        url = f"{gateway.url}/v1/conversations/c-1/ws"
        good = token("c-1")
        assert await _close_code(session, url) == 4401
        assert await _close_code(session, f"{url}?access_token=a.b.c") == 4401
        assert await _close_code(session, f"{url}?access_token={token('c-2')}") == 4403
        async with session.ws_connect(url, protocols=("forebay.v1", f"bearer.{good}")) as socket:
            assert socket.protocol == "forebay.v1"
            assert (await socket.receive_json())["type"] == "open"
            assert await _close_code(session, f"{url}?access_token={good}") == 4429
            await socket.send_str("x" * (300 << 10))
            message = await socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)
        evil = {"Origin": "https://evil.example"}
        async with session.get(url, headers={**evil, "Upgrade": "websocket", "Connection": "Upgrade"}) as response:
            assert response.status == 403


async def _close_code(session: aiohttp.ClientSession, url: str) -> int | None:
    async with session.ws_connect(url) as socket:
        await socket.receive()
        return socket.close_code


async def test_too_much_is_refused_with_the_time_to_wait(cluster: Cluster, session: aiohttp.ClientSession) -> None:
    async with serving(cluster, gateway_user_turns_a_second=0.5, gateway_user_burst=2) as gateway:
        client = Client(gateway, session)
        path = "/conversations/c-1/turns"
        answers = [await client.call("POST", path, {"text": "x", "user_id": "u"}) for _ in range(3)]
        assert [status for status, _, _ in answers] == [202, 202, 429]
        assert 1 <= int(answers[2][2]["Retry-After"]) <= 2
        assert "user u" in answers[2][1]["detail"]
        assert (await client.call("POST", path, {"text": "x", "user_id": "v"}))[0] == 202
        status, problem, _ = await client.call("POST", path, {"text": "x" * 32_768, "attributes": {"a": "x" * 300_000}})
        assert (status, problem["code"]) == (413, "too_large")


async def test_other_sites_are_kept_out_of_an_open_gateway(client: Client) -> None:
    path, body = "/conversations/c-1/turns", {"text": "x"}
    assert (await client.call("POST", path, body, Origin="https://evil.example"))[0] == 403
    assert (await client.call("POST", path, body, Host="evil.example"))[0] == 403
    assert (await client.call("POST", path, body, Host="localhost:1"))[0] == 202
    status, _, headers = await client.call("POST", path, body, **{"Content-Type": "text/plain"})
    assert status == 415
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_listed_origins_may_call(cluster: Cluster, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with guarded(cluster, tmp_path, session, gateway_cors="https://shop.example") as gateway:
        url = f"{gateway.url}/v1/conversations/c-1/turns"
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        async with session.options(url, headers=asked) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        async with session.options(url, headers=asked | {"Origin": "https://evil.example"}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_turns_are_answered_whole_while_too_many_wait_and_streamed_again_after(
    cluster: Cluster, session: aiohttp.ClientSession, hand: Hand
) -> None:
    async with serving(cluster, gateway_whole_above_deltas=20) as gateway:
        client = Client(gateway, session)
        assert (await client.turn("c-1", stream=True))["stream"] is True

        async def streamed() -> bool:
            return bool((await client.turn("c-2", turn_id=new_id(), stream=True))["stream"])

        pouring = asyncio.create_task(_pour(hand))
        try:
            async with asyncio.timeout(20):
                while await streamed():
                    await asyncio.sleep(0.05)
        finally:
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
        async with asyncio.timeout(20):
            while not await streamed():
                await asyncio.sleep(0.05)
    last = decode_turn((await read_topic(cluster, cluster.topics.requests))[-1].value)
    assert last.turn_id


async def _pour(hand: Hand) -> None:
    number = 0
    while True:
        await asyncio.gather(*(hand.delta((f"p-{n}", "t"), number, "w") for n in range(20)))
        number += 1


async def test_the_same_conversation_is_found_whatever_its_name(client: Client, hand: Hand) -> None:
    from urllib.parse import quote

    for name in ("ü/ö", "a b", "中文", "%2F", "🎁" * 32, "a?b#c", "\x00"):
        path = quote(name, safe="")
        told = await client.turn(path)
        assert told["conversation_id"] == name
        async with client.reading(path, told["event_id"]) as reader:
            await hand.reply((name, told["turn_id"]), name)
            assert (await reader.next("done"))["reply"]["text"] == name


async def test_two_conversations_may_give_a_turn_the_same_id(
    cluster: Cluster, tmp_path: Path, session: aiohttp.ClientSession, hand: Hand
) -> None:
    async with guarded(cluster, tmp_path, session) as gateway:
        server = Client(gateway, session, Authorization="Bearer server-key")
        for name in ("c-1", "c-2"):
            await server.turn(name, name, turn_id="t")
            await hand.reply((name, "t"), name)
        hub = gateway._context.hub
        await until(lambda: [record.stream for record in hub.records("t")].count(Stream.REPLIES) == 2)
        for name in ("c-1", "c-2"):
            mine = Client(gateway, session, Authorization=f"Bearer {token(name)}")
            prefixed = Client(gateway, session, Authorization=f"Bearer {token(name + '*')}")
            for client, path in (
                (mine, "/turns/t"),
                (prefixed, "/turns/t"),
                (mine, f"/turns/t?conversation_id={name}"),
            ):
                assert (await client.call("GET", path))[1]["reply"]["text"] == name
            assert (await server.call("GET", f"/turns/t?conversation_id={name}"))[1]["reply"]["text"] == name
        assert (await server.call("GET", "/turns/t?conversation_id=c-3"))[0] == 404


async def test_a_turn_that_is_done_and_sent_again_has_its_reply_at_once(client: Client, hand: Hand) -> None:
    await client.turn("c-1", "Hello", turn_id="t")
    await hand.reply(("c-1", "t"), "Hi")
    async with asyncio.timeout(10):
        while (told := await client.turn("c-1", "Hello", turn_id="t"))["status"] != "done":
            await asyncio.sleep(0.02)
    assert told["reply"]["text"] == "Hi"


async def test_while_the_workers_are_paused_nobody_is_told_when_it_goes_on(
    client: Client, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    await client.queue_known()
    await client._gateway._context.fleet.command("pause")

    async def unknown() -> bool:
        place = (await client.turn("c-1", "Hello", turn_id=new_id()))["place"]
        return place["estimated_wait_s"] is None and place["ahead"] > 0

    async with asyncio.timeout(30):
        while not await unknown():
            await asyncio.sleep(0.2)


async def test_what_cannot_be_unpacked_is_refused(client: Client) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    url = client._url("/conversations/c-1/turns")
    reader, writer = await asyncio.open_connection("127.0.0.1", client._gateway.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(
        f"POST {url.raw_path} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: 12\r\n\r\n".encode()
        + b'{"text":"a"}'
    )
    assert (await reader.readuntil(b"\r\n")).split()[1] == b"400"
    writer.close()


async def test_a_token_as_the_only_subprotocol_is_refused_and_not_logged(
    client: Client, session: aiohttp.ClientSession, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await session.ws_connect(client._url("/conversations/c-1/ws"), protocols=("bearer.secret.secret.secret",))
    assert refused.value.status == 400
    assert "secret" not in "".join(capfd.readouterr())
