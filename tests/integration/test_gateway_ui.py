"""The gateway behind `useChat` of the unmodified AI SDK, in React, in jsdom; and behind the openai package of npm."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from forebay.gateway import Gateway
from forebay.rehearsal.model_api import ModelApi, parse_reply
from forebay.schemas import Cluster, decode_cancellation, decode_turn
from forebay.workers.assistants import Assistant, HandOff, tool

from .conftest import Fleet, read_topic, until, until_async
from .gateway import Hand, gateway, hand, serving, token, write_keys

__all__ = ["gateway", "hand"]

UI = Path(__file__).with_name("ui")
CHAT = "/v1/ui/chat"


@pytest.fixture(scope="session")
def modules() -> Path:
    """The folder with the packages; kept outside of the tree for as long as their versions are the same."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    wanted = (UI / "package.json").read_bytes()
    cache = Path.home() / ".cache" / "forebay" / "npm"
    folder = cache / hashlib.sha256(wanted).hexdigest()[:16]
    if folder.is_dir():
        return folder
    begun = cache / f"{folder.name}.{uuid4().hex[:8]}"
    begun.mkdir(parents=True)
    (begun / "package.json").write_bytes(wanted)
    install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(install, cwd=begun, check=True, timeout=110)
    try:
        begun.rename(folder)
    except OSError:  # another run was faster
        shutil.rmtree(begun)
    return folder


class Page:
    """A page that is open. What it says is kept, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: list[dict[str, Any]] = []

    async def do(self, deed: str, **more: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": deed, **more}).encode() + b"\n")
        await self._process.stdin.drain()

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first thing it says from now on of which this is true."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            while line := await self._process.stdout.readline():
                self.heard.append(json.loads(line))
                assert "failed" not in self.heard[-1], self.heard[-1]
                if condition(self.heard[-1]):
                    return self.heard[-1]
        raise AssertionError(f"the page closed after {self.heard[-3:]}")

    async def answered(self, messages: int) -> list[dict[str, Any]]:
        """Its messages, when there are so many and nothing is under way."""
        now = await self.until(lambda said: said.get("status") == "ready" and len(said["messages"]) == messages)
        return list(now["messages"])

    def data(self, kind: str) -> list[Any]:
        """The transient parts of that kind."""
        return [said["data"]["data"] for said in self.heard if "data" in said and said["data"]["type"] == kind]


@asynccontextmanager
async def page(modules: Path, gateway: Gateway, **environment: str) -> AsyncIterator[Page]:
    given = {"MODULES": str(modules), "API": gateway.url, "CHAT": "c-1", "TOKEN": "", "RESUME": "no"}
    process = await asyncio.create_subprocess_exec(
        "node",
        str(UI / "page.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **given, **environment},
        limit=4 << 20,
    )
    opened = Page(process)
    try:
        await opened.until(lambda said: "status" in said)
        yield opened
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


def text(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def part(message: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [part for part in message["parts"] if part["type"] == kind]
    return dict(found)


async def test_a_conversation(modules: Path, gateway: Gateway, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()
    question = (
        "Is SKU001 in stock? " * 12
    )  # the answer repeats it: long enough to come in pieces, however busy the machine
    async with page(modules, gateway) as chat:
        await chat.do("send", message={"text": question})
        said, answer = await chat.answered(2)
        assert parse_reply(text(answer)).turn == 1
        assert (answer["metadata"]["turn_id"], answer["metadata"]["outcome"]) == (said["id"], "answered")
        assert part(answer, "text")["state"] == "done"
        shown = {text(seen["messages"][1]) for seen in chat.heard if len(seen.get("messages", ())) == 2}
        assert len(shown) > 1, "the words came as they were said"
        await chat.do("send", message={"text": "And SKU002?"})
        messages = await chat.answered(4)
        assert parse_reply(text(messages[3])).earlier == [question[:24]]


async def test_an_action_waits_for_the_users_word(
    modules: Path, gateway: Gateway, fleet: Fleet, model_api: ModelApi
) -> None:
    @tool(confirm=True, summary="Cancel order {order_id}")
    def cancel_order(order_id: str) -> str:
        """Cancels an order."""
        return f"order {order_id} is cancelled"

    await fleet.start(assistant=Assistant(tools=(cancel_order,), hand_off=HandOff()))
    cancel = {"text": 'use tool cancel_order {"order_id": "1001"}'}
    async with page(modules, gateway) as chat:
        await chat.do("send", message=cancel)
        asked = (await chat.answered(2))[1]
        assert text(asked) == "Cancel order 1001", "words before it are taken back"
        action = part(asked, "data-confirmation")["data"]
        assert action["summary"] == "Cancel order 1001"
        word = {"confirm": {"action_id": action["action_id"], "accept": True}}
        await chat.do("send", message={"text": "Yes"}, options={"body": word})
        done = (await chat.answered(4))[3]
        assert "order 1001 is cancelled" in text(done)
        await chat.do("send", message=cancel)
        asked = (await chat.answered(6))[5]
        word = {"confirm": {"action_id": part(asked, "data-confirmation")["data"]["action_id"], "accept": False}}
        await chat.do("send", options={"body": word})
        goes_on = (await chat.until(lambda said: said.get("status") == "ready"))["messages"]
        assert [message["id"] for message in goes_on][5:] == [asked["id"]], "without a message, the last one goes on"
        assert text(goes_on[5]).startswith("Cancel order 1001")
        assert "nothing was done" in text(goes_on[5])
        await chat.do("send", message={"text": "I want to talk to a human"})
        assert part((await chat.answered(8))[7], "data-handoff")["data"] == {"reason": "asked_for"}


async def test_a_failed_turn_can_be_tried_again(
    modules: Path, gateway: Gateway, cluster: Cluster, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    async with page(modules, gateway) as chat:
        await chat.do("send", message={"text": "[fault context_too_long x1] Hello"})
        failed = await chat.until(lambda said: said.get("status") == "error")
        assert failed["error"]
        assert [message["role"] for message in failed["messages"]] == ["user"]
        await chat.do("regenerate")
        answer = (await chat.answered(2))[1]
        assert "Hello" in text(answer)
        await chat.do("regenerate")
        await chat.until(lambda said: said.get("status") == "submitted")
        assert (await chat.answered(2))[1]["id"] != answer["id"]
    requests = [decode_turn(record.value) for record in await read_topic(cluster, cluster.topics.requests)]
    assert len({turn.turn_id for turn in requests}) == len(requests) == 3
    assert requests[1].turn_id.startswith(requests[0].turn_id)


async def test_a_page_that_is_opened_again_goes_on(
    modules: Path, gateway: Gateway, cluster: Cluster, hand: Hand
) -> None:
    async with page(modules, gateway) as chat:
        await chat.do("send", message={"text": "Hello"})
        submitted = await chat.until(lambda said: said.get("status") == "submitted" and said["messages"])
        turn = ("c-1", submitted["messages"][0]["id"])
        await until(lambda: [one.turn_id for one in gateway._context.hub.requests(turn[0])] == [turn[1]])
        await hand.delta(turn, 0, "It is ")
        await chat.until(lambda said: said.get("status") == "streaming")
        assert chat.data("data-started") == [{"turn_id": turn[1]}]
    async with page(modules, gateway, RESUME="yes") as chat:
        await chat.until(lambda said: any(text(message) == "It is " for message in said.get("messages", ())))
        await hand.delta(turn, 1, "in shops", restart=False)
        await hand.delta(turn, 0, "We have", restart=True)
        await chat.until(lambda said: any(text(message) == "We have" for message in said.get("messages", ())))
        await hand.reply(turn, "We have it.")
        (answer,) = await chat.answered(1)
        assert text(answer) == "We have it."
        assert answer["id"] == f"{turn[1]}~answer"
    async with aiohttp.ClientSession(gateway.url) as http:
        assert (await http.get(f"{CHAT}/c-1/stream")).status == 204
        assert (await http.get(f"{CHAT}/never/stream")).status == 204


async def cancellations(cluster: Cluster) -> list[str]:
    records = await read_topic(cluster, cluster.topics.cancellations)
    return [decode_cancellation(record.value).turn_id for record in records]


async def has_cancelled(cluster: Cluster, turn_id: str) -> bool:
    return await cancellations(cluster) == [turn_id]


async def requests(cluster: Cluster) -> list[str]:
    return [decode_turn(record.value).turn_id for record in await read_topic(cluster, cluster.topics.requests)]


async def asked(cluster: Cluster, number: int) -> bool:
    return len(await requests(cluster)) == number


async def streaming(chat: Page, cluster: Cluster, hand: Hand, number: int = 1) -> str:
    """Sends the next message, whose answer has begun; its turn's id."""
    await chat.do("send", message={"text": "Hello"})
    await until_async(lambda: asked(cluster, number))
    turn_id = (await requests(cluster))[-1]
    await hand.delta(("c-1", turn_id), 0, "So far")
    await chat.until(
        lambda said: len(said.get("messages", ())) == 2 * number and text(said["messages"][-1]) == "So far"
    )
    return turn_id


async def test_stop_takes_the_turn_back_where_the_transport_says_so_and_a_page_that_closes_does_not(
    modules: Path, gateway: Gateway, cluster: Cluster, hand: Hand
) -> None:
    async with page(modules, gateway, STOPS="yes") as chat:
        turn_id = await streaming(chat, cluster, hand)
        await chat.do("stop")
        await until_async(lambda: has_cancelled(cluster, turn_id))
        await chat.until(lambda said: said.get("status") == "ready")
        await hand.reply(("c-1", turn_id), "So far", outcome="cancelled")
        await streaming(chat, cluster, hand, 2)
    assert await cancellations(cluster) == [turn_id]


async def test_stop_takes_the_turn_back_where_the_request_says_so(modules: Path, cluster: Cluster, hand: Hand) -> None:
    async with serving(cluster, gateway_on_disconnect="cancel") as gateway, page(modules, gateway) as chat:
        turn_id = await streaming(chat, cluster, hand)
        await chat.do("stop")
        await until_async(lambda: has_cancelled(cluster, turn_id))


async def test_a_cancelled_answer_ends_as_an_aborted_one_and_a_merged_one_with_the_answer_to_both(
    modules: Path, gateway: Gateway, cluster: Cluster, hand: Hand
) -> None:
    async with page(modules, gateway) as chat:
        turn_id = await streaming(chat, cluster, hand)
        await hand.reply(("c-1", turn_id), "So", outcome="cancelled")
        ended = await chat.until(lambda said: said.get("status") == "ready")
        assert (text(ended["messages"][1]), ended["error"]) == ("So far", None)
        assert ended["messages"][1]["metadata"]["outcome"] == "cancelled"
        await chat.do("send", message={"text": "Hello?"}, options={"body": {"when_busy": "merge"}})
        await until_async(lambda: asked(cluster, 2))
        merged = (await requests(cluster))[-1]
        await hand.reply(("c-1", merged), "", outcome="merged", merged_into="t-9")
        await hand.reply(("c-1", "t-9"), "To both")
        answer = (await chat.answered(4))[3]
        assert text(answer) == "To both"
        assert (answer["metadata"]["turn_id"], answer["metadata"]["merged_into"]) == (merged, "t-9")


async def test_tokens(modules: Path, cluster: Cluster, fleet: Fleet, model_api: ModelApi, tmp_path: Path) -> None:
    await fleet.start()
    async with serving(cluster, gateway_keys=write_keys(tmp_path)) as gateway:
        async with page(modules, gateway, TOKEN=token("c-1")) as chat:
            await chat.do("send", message={"text": "Hello"})
            assert len(await chat.answered(2)) == 2
        async with page(modules, gateway, TOKEN=token("c-2")) as chat:
            await chat.do("send", message={"text": "Hello"})
            refused = await chat.until(lambda said: said.get("status") == "error")
            assert json.loads(refused["error"])["code"] == "forbidden"
        async with aiohttp.ClientSession(gateway.url) as http:
            assert (await http.get(f"{CHAT}/c-1/stream")).status == 401
            bearer = {"Authorization": f"Bearer {token('c-2')}"}
            assert (await http.get(f"{CHAT}/c-1/stream", headers=bearer)).status == 403


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "c-1", "messages": messages, "trigger": "submit-message", **more}


def message(said: str, name: str = "m-1", role: str = "user") -> dict[str, Any]:
    return {"id": name, "role": role, "parts": [{"type": "text", "text": said}]}


async def parts(http: aiohttp.ClientSession, sent: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    response = await http.post(CHAT, json=sent, headers=headers)
    assert response.status == 200, await response.text()
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert response.content_type == "text/event-stream"
    lines = [line[6:] for line in (await response.text()).split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_what_is_one_turn_and_what_is_another(
    gateway: Gateway, cluster: Cluster, fleet: Fleet, model_api: ModelApi
) -> None:
    await fleet.start()
    async with aiohttp.ClientSession(gateway.url) as http:
        first = await parts(http, body(message("Hello")))
        assert [part["type"] for part in first if not part["type"].startswith("data-")] == [
            *("start", "start-step", "text-start"),
            *["text-delta"] * sum(part["type"] == "text-delta" for part in first),
            *("text-end", "finish-step", "finish"),
        ]
        again = await parts(http, body(message("Hello")))
        assert again[-1] == first[-1], "sent again, it is the same turn"
        mended = body(message("Hello!"), messageId="m-1")
        assert (await parts(http, mended))[-1] == (await parts(http, mended))[-1] != first[-1]
        assert (await http.post(CHAT, json=body(message("Something else")))).status == 409
        long = [await parts(http, body(message("Long", "m" * 200))) for _ in range(2)]
        assert long[0][-1] == long[1][-1]
        keyed = [await parts(http, body(message("Key", f"k-{n}")), **{"Idempotency-Key": "k"}) for n in range(2)]
        assert keyed[0][-1] == keyed[1][-1]
    assert len(await read_topic(cluster, cluster.topics.requests)) == 4


async def test_hostile_bodies_are_refused(gateway: Gateway, cluster: Cluster) -> None:
    file = {"id": "m-1", "role": "user", "parts": [{"type": "file", "mediaType": "image/png", "url": "data:,"}]}
    hostile: list[Any] = [
        *(None, [], {}, "x", {"id": "c-1"}, body(), body({}), body({"role": 7}), body(file)),
        *(body(message("")), body(message("x" * 32_769)), body(message("x", role="assistant"))),
        *(body(message("x"), trigger="other"), body(message("x"), id="c" * 129), body(message("x"), id=7)),
        *(body(message("x"), confirm={}), body(message("x"), confirm={"action_id": "", "accept": True})),
        *(body(message("x"), confirm={"action_id": "a", "accept": "yes"}), body(message("x"), attributes=[])),
        body({"id": "m-1", "role": "user", "parts": [{"type": "text", "text": {}}, {"type": []}, {}]}),
    ]
    json_type = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(gateway.url) as http:
        for sent in hostile:
            assert (await http.post(CHAT, data=json.dumps(sent), headers=json_type)).status == 400, sent
        surrogate = b'{"id": "c-1", "messages": [{"role": "user", "parts": [{"type": "text", "text": "\\ud800"}]}]}'
        assert (await http.post(CHAT, data=surrogate, headers=json_type)).status == 400
        assert (await http.post(CHAT, data=b"{}")).status == 415
        assert (await http.get(CHAT)).status == 405
    assert await read_topic(cluster, cluster.topics.requests) == []


async def test_the_openai_package_of_npm(modules: Path, gateway: Gateway, fleet: Fleet, model_api: ModelApi) -> None:
    await fleet.start()
    async with page(modules, gateway) as chat:
        await chat.do("complete", text="Hello", user="u-1")
        both = await chat.until(lambda said: "whole" in said)
        assert (parse_reply(both["whole"]).turn, parse_reply(both["streamed"]).turn) == (1, 2)
