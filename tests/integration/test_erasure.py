"""`forebay erase`: the store, a provider's sessions, live processes, and what it says of the topics."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from forebay.operations.erasure import erase
from forebay.producers import ChatClient
from forebay.rehearsal.model_api import Fault, ModelApi
from forebay.schemas import Cluster, Turn, decode_command
from forebay.workers.conversations import State, open_store
from forebay.workers.models import Message, Prompt, Timeouts
from forebay.workers.models.managed_agent import ManagedAgentModel, client
from forebay.workers.models.sessions.agency import Agency

from .conftest import Fleet, until
from .test_command_line import forebay
from .test_store import entry

PLANTED = "plum-planted-7731"
DAY = timedelta(days=1)


async def commands(cluster: Cluster) -> list[tuple[bytes | None, str, str | None]]:
    """Key, command and conversation of all on the topic."""
    consumer = AIOKafkaConsumer(cluster.topics.commands, auto_offset_reset="earliest", **cluster.connection())
    async with consumer:
        (partition,) = consumer.assignment()
        found: list[tuple[bytes | None, str, str | None]] = []
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            record = await consumer.getone()
            command = decode_command(record.value or b"")
            found.append((record.key, command.command, command.conversation_id))
    return found


async def test_a_conversation_is_erased_by_command(
    fleet: Fleet,
    chat: ChatClient,
    model_api: ModelApi,
    cluster: Cluster,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    worker = await fleet.start()
    for conversation_id in ("c-1", "c-2"):
        for number in range(2):
            text = f"{PLANTED} {conversation_id} {number}"
            await chat.ask(Turn(turn_id=f"t-{number}", conversation_id=conversation_id, text=text))
    where = {
        "FOREBAY_STORE": fleet.store_url,
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
    }
    named = ("--conversation", "c-1", "--conversation", "c-2")
    counted = json.loads(forebay("erase", *named, "--dry-run", "--json", cwd=tmp_path, **where).stdout)
    assert [(one["removed"]["exchanges"], one["erased_at"]) for one in counted["conversations"]] == [(2, None)] * 2
    assert await commands(cluster) == []
    refused = forebay("erase", *named, cwd=tmp_path, **where)
    assert (refused.returncode, "give --yes" in refused.stderr) == (2, True)
    done = forebay("erase", *named, "--yes", "--json", cwd=tmp_path, **where)
    receipt = json.loads(done.stdout)
    assert (done.returncode, receipt["complete"], receipt["problems"]) == (0, True, []), done.stderr
    assert [one["removed"]["replies"] for one in receipt["conversations"]] == [2, 2]
    for file in tmp_path.glob("conversations.db*"):
        assert PLANTED.encode() not in file.read_bytes(), f"{file.name}, which a worker has open"
    until = {one["topic"]: datetime.fromisoformat(one["held_until"]) for one in receipt["topics"]}
    now = datetime.now(UTC)
    assert 7 * DAY <= until[cluster.topics.requests] - now <= 14.1 * DAY
    assert until[cluster.topics.deltas] - now <= timedelta(minutes=21)
    assert cluster.topics.workers not in until
    assert await commands(cluster) == [(b"*", "erase", "c-1"), (b"*", "erase", "c-2")]
    assert not worker.ready(), "a worker that does not know the command goes on"
    await fleet.stop(worker)
    logged = capfd.readouterr()
    assert "worker" in logged.out + logged.err, "or the search below proves nothing"
    assert PLANTED not in logged.out + logged.err
    shown = forebay("erase", *named, "--yes", cwd=tmp_path, **where).stdout
    assert "c-1: removed from the store: nothing was there" in shown
    assert f"{cluster.topics.requests}: holds chat turns until " in shown


async def test_a_turn_under_way_is_cancelled_and_writes_nothing_back(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, cluster: Cluster, tmp_path: Path
) -> None:
    """Neither the one that a model answers, nor the one that waits behind it; the next one begins anew."""
    await fleet.start()
    await chat.ask(Turn(turn_id="t-0", conversation_id="c-1", text=f"{PLANTED} before"))
    model_api.add_fault(Fault.SLOW_FIRST_TOKEN, count=1, seconds=1.5)
    waiting = [
        asyncio.create_task(chat.ask(Turn(turn_id=f"t-{number}", conversation_id="c-1", text=f"{PLANTED} {number}")))
        for number in (1, 2)
    ]
    await until(lambda: model_api.stats().in_flight == 1)
    store = open_store(fleet.store_url)
    receipt = await erase(store, cluster, ["c-1"])
    assert (receipt.complete, receipt.erased["c-1"].removed["exchanges"]) == (True, 1)
    replies = await asyncio.gather(*waiting)
    assert [(reply.outcome, reply.text) for reply in replies] == [("cancelled", "")] * 2
    anew = await chat.ask(Turn(turn_id="t-3", conversation_id="c-1", text="Hello?"))
    assert (anew.outcome, PLANTED in anew.text) == ("answered", False)
    assert [one.turn_id for one in (await store.history("c-1")).exchanges] == ["t-3"]
    await store.close()
    for file in tmp_path.glob("conversations.db*"):
        assert PLANTED.encode() not in file.read_bytes(), file.name


async def test_all_conversations_of_a_user_are_erased(cluster: Cluster, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'conversations.db'}"
    store = open_store(url)
    for name, tenant in (("c-1", "eu"), ("c-2", "us"), ("c-3", "eu")):
        user = "u-1" if name != "c-3" else "u-2"
        await store.record(entry("t", conversation_id=name)._replace(user_id=user, tenant=tenant))
    where = {"FOREBAY_STORE": url, "FOREBAY_KAFKA": cluster.kafka, "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix}
    done = forebay("erase", "--user", "u-1", "--tenant", "us", "--yes", cwd=tmp_path, **where)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0,
        "c-2: removed from the store: 1 replies, 1 exchanges, 1 participants",
    )
    done = forebay("erase", "--user", "u-1", "--yes", "--json", cwd=tmp_path, **where)
    assert [one["conversation_id"] for one in json.loads(done.stdout)["conversations"]] == ["c-1"]
    assert "no conversation of this user" in forebay("erase", "--user", "u-1", "--yes", cwd=tmp_path, **where).stdout
    assert await store.conversations_of("u-2") == ("c-3",)
    await store.close()


async def test_without_kafka_the_store_forgets_and_the_rest_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'conversations.db'}"
    store = open_store(url)
    await store.record(entry("t"))
    await store.close()
    where = {"FOREBAY_STORE": url, "FOREBAY_KAFKA": "127.0.0.1:1"}
    done = forebay("erase", "--conversation", "c", "--yes", cwd=tmp_path, **where)
    assert (done.returncode, done.stdout) == (1, "c: removed from the store: 1 replies, 1 exchanges\n")
    assert "live processes were not told" in done.stderr
    assert "until when the topics hold" in done.stderr


async def test_sessions_of_a_provider_are_deleted(
    cluster: Cluster, model_api: ModelApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sdk = open_store(f"sqlite:///{tmp_path / 'conversations.db'}"), client("simulated", 2, Timeouts())
    model = ManagedAgentModel("claude-sonnet-5-5", sdk, Agency(sdk))
    completion = await model.complete(Prompt("Be brief.", (Message("user", PLANTED),), 200))
    assert completion.session is not None
    agent, kept = completion.session
    for name in ("c-1", "c-2"):
        state = State(sessions={agent: kept, "another": "sesn_gone::"})
        await store.record(entry("t", conversation_id=name)._replace(state=state))
    (made,) = model_api.managed.sessions
    receipt = await erase(store, cluster, ["c-1"], dry_run=True)
    assert (receipt.sessions, [*model_api.managed.sessions]) == ({made: "", "sesn_gone": ""}, [made])
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    receipt = await erase(store, cluster, ["c-2"])
    assert not receipt.complete
    assert all("ANTHROPIC_API_KEY is not set" in why for why in receipt.sessions.values())
    monkeypatch.setenv("ANTHROPIC_API_KEY", "simulated")
    receipt = await erase(store, cluster, ["c-1"])
    assert (receipt.complete, receipt.sessions) == (True, {made: "", "sesn_gone": ""})
    assert not model_api.managed.sessions
    await store.close()
    await sdk.close()
