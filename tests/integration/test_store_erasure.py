"""Erasure: what every store removes, what it still knows afterwards, and that nothing is written back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from redis import Redis

from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.workers.conversations import (
    Claim,
    Conversation,
    ConversationErased,
    Exchange,
    HistoryPage,
    State,
    Store,
    StoredReply,
)
from forebay.workers.conversations.sqlite import SQLiteStore
from forebay.workers.messages import Message, ToolCall, ToolResult
from tests.integration.test_store import Another, entry
from tests.integration.test_store import another as another
from tests.integration.test_store import store as store
from tests.integration.test_store_redis import client as client
from tests.integration.test_store_redis import opened
from tests.integration.test_store_redis import url as url

PLANTED = "plum-planted-7731"
STATE = State(vault={"PHONE_1": f"{PLANTED}-phone", "EMAIL_1": None}, sessions={"agent": "sesn_1:a:b"})


async def fill(store: Store, conversation_id: str, mark: str = PLANTED) -> None:
    """A conversation with everything in it."""
    call, result = ToolCall("1", "find", f"{mark}-argument"), ToolResult("1", f"{mark}-result")
    steps = (Message("assistant", "", (call,)), Message("tool", results=(result,)))
    for number in range(3):
        done = entry(f"t{number}", f"{mark}-reply-{number}".encode() * 50, conversation_id)._replace(
            exchange=Exchange(f"{mark}-said-{number}", f"{mark}-answer-{number}" * 50, steps),
            user_id=f"{mark}-user",
            tenant="shop",
            state=STATE.model_copy(update={"failures": number, "vault": {"PHONE_1": f"{mark}-phone", "EMAIL_1": None}}),
            others=((f"m{number}", StoredReply("merged", f"{mark}-merged".encode())),),
        )
        await store.record(done)
    await store.save_summary(conversation_id, f"{mark}-summary", 2)
    await store.remember_message(conversation_id, "message-1", f"{mark}-name", f"{mark}-message", time.time())
    await store.record(entry("t9", b"x", conversation_id, "handed_off")._replace(hand_off=f"{mark}-reason"))
    await store.load(conversation_id, "claimed", 5, owner="me")


async def test_nothing_is_left_but_when_it_was_erased(store: Store) -> None:
    await fill(store, "c")
    await fill(store, "other", "kept")
    found = await store.erase("c", dry_run=True)
    assert found.erased_at is None
    assert (await store.load("c", "t0", 9)).reply is not None
    before = time.time() - 1
    erased = await store.erase("c")
    assert {**erased.removed, "claims": 0} == {
        "replies": 7,
        "exchanges": 3,
        "messages": 1,
        "summaries": 1,
        "redacted_values": 1,
        "claims": 0,
        "participants": 1,
    }
    assert (found.removed, found.sessions) == (erased.removed, erased.sessions) == (found.removed, ("sesn_1:a:b",))
    assert erased.erased_at is not None
    assert before < erased.erased_at < time.time() + 1
    for turn_id in ("t0", "m0", "t9", "message-1"):
        loaded = await store.load("c", turn_id, 9)
        assert loaded[:2] == (None, ())
        assert (loaded.conversation, loaded.erased_at) == (Conversation(), erased.erased_at)
    assert await store.history("c") == HistoryPage((), None, Conversation())
    assert await store.conversations_of(f"{PLANTED}-user") == ()
    assert len((await store.load("other", "t0", 9)).history) == 4
    again = await store.erase("c")
    assert set(again.removed.values()) == {0}


async def test_conversations_of_a_user(store: Store) -> None:
    for name, tenant in (("c1", "shop"), ("c2", None), ("c3", "other shop")):
        await store.record(entry("t", conversation_id=name)._replace(user_id="u:1", tenant=tenant))
    await store.record(entry("t", conversation_id="c4")._replace(user_id="u", tenant="1:shop"))
    await store.record(entry("t", conversation_id="c5")._replace(tenant="shop"))
    assert await store.conversations_of("u:1") == ("c1", "c2", "c3")
    assert await store.conversations_of("u:1", "shop") == ("c1",)
    assert await store.conversations_of("") == ()
    await store.erase("c1")
    assert await store.conversations_of("u:1") == ("c2", "c3")


async def test_a_turn_under_way_writes_nothing_back(another: Another) -> None:
    store, eraser = another(), another()
    await fill(store, "c")
    loaded = await store.load("c", "late", 9, owner="me")
    assert loaded.erased_at is None
    erased = await eraser.erase("c")
    late = entry("late", PLANTED.encode())._replace(state=STATE, hand_off="asked_for", scopes=("",), cost_usd=0.5)
    with pytest.raises(ConversationErased) as told:
        await store.record(late)
    assert told.value.erased_at == erased.erased_at
    await store.load("c", "late", 9, owner="me")
    assert not await store.save_state(Claim("c", "late", "me"), STATE)
    await store.save_summary("c", PLANTED, 1, 0.5)
    assert not await store.remember_message("c", "m-late", "Anna", PLANTED, time.time() - 60)
    after = await store.load("c", "late", 9, ("",))
    assert (after.reply, after.history, after.conversation, after.spent[""].in_day) == (None, (), Conversation(), 0)


async def test_a_conversation_goes_on_after_its_erasure(store: Store) -> None:
    await fill(store, "c")
    await store.erase("c")
    known = (await store.load("c", "new", 9, owner="me")).erased_at
    cancelled = StoredReply("cancelled", b"{}")
    assert await store.record(entry("old")._replace(reply=cancelled, exchange=None, erased_at=known)) == (cancelled,)
    assert await store.save_state(Claim("c", "new", "me"), State(failures=1), known)
    await store.record(entry("new")._replace(erased_at=known))
    await store.save_summary("c", "short", 1, 0.0, known)
    assert await store.remember_message("c", "message-1", "Anna", "Hello again.", time.time() + 1)
    loaded = await store.load("c", "u", 9)
    assert [exchange.answer for exchange in loaded.history] == ["answer new", "Hello again."]
    assert (loaded.conversation, loaded.erased_at) == (Conversation(2, State(failures=1), "short", 1), known)
    second = await store.erase("c")
    assert second.removed["replies"] == 2
    with pytest.raises(ConversationErased):
        await store.record(entry("third")._replace(erased_at=known))


async def test_no_turn_gets_past_an_erasure(another: Another) -> None:
    """Many turns and an erasure at the same time: what was recorded before is gone, what comes after is told."""
    stores = [another(), another()]

    async def turn(number: int) -> bool:
        try:
            await stores[number % 2].record(entry(f"t{number}"))
        except ConversationErased:
            return False
        return True

    first = [asyncio.create_task(turn(number)) for number in range(30)]
    await asyncio.sleep(0)
    erasing = asyncio.create_task(stores[0].erase("c"))
    ends = await asyncio.gather(*first, *(turn(number) for number in range(30, 60)))
    erased = await erasing
    assert (await stores[1].load("c", "u", 99)).history == ()
    assert erased.removed["replies"] == sum(ends)


async def test_nothing_is_left_in_the_files_of_sqlite(tmp_path: Path) -> None:
    """Rows that were written over and moved about leave their words in a page's free space: the raw bytes are read."""
    path = tmp_path / "conversations.db"
    store = SQLiteStore(str(path))
    for number in range(60):
        await fill(store, f"kept-{number}", f"kept-{number}")
        if number in (5, 30):
            await fill(store, f"c-{number}")
    held = [path, path.with_name(path.name + "-wal")]
    assert any(PLANTED.encode() in file.read_bytes() for file in held), "or the search below proves nothing"
    for number in (5, 30):
        await store.erase(f"c-{number}")
    assert await store.scrub() is None
    for file in tmp_path.iterdir():
        assert PLANTED.encode() not in file.read_bytes(), file.name
    assert len((await store.load("kept-59", "t0", 9)).history) == 4
    await store.close()
    for file in tmp_path.iterdir():
        assert PLANTED.encode() not in file.read_bytes(), file.name


async def test_a_file_that_others_read_is_not_said_to_be_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forebay.workers.conversations import sqlite_erasure

    monkeypatch.setattr(sqlite_erasure, "_WAIT_S", 0.2)
    store, reader = SQLiteStore(str(tmp_path / "c.db")), SQLiteStore(str(tmp_path / "c.db"))
    await fill(store, "c")
    reader._here.execute("BEGIN")
    reader._here.execute("SELECT * FROM turns").fetchone()
    await store.erase("c")
    told = await store.scrub()
    assert told is not None
    reader._here.execute("COMMIT")
    assert await store.scrub() is None
    for opened_store in (store, reader):
        await opened_store.close()


async def test_nothing_is_left_in_redis_and_its_files(tmp_path: Path) -> None:
    with EmbeddedRedis.running(data=tmp_path, settings={"appendfsync": "always"}) as server:
        async with opened(server.url) as store:
            await fill(store, "c")
            await fill(store, "kept", "kept")
            assert any(PLANTED.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
            await store.erase("c")
            assert await store.scrub() is None
            with Redis.from_url(server.url) as client:
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    await asyncio.sleep(0.02)
                assert not [key for key in client.scan_iter() if PLANTED.encode() in key + (client.dump(key) or b"")]
                left = {key.split(b":")[2] for key in client.scan_iter("*:c") if key.endswith(b":c")}
                assert left == {b"conversation"}
                assert set(client.hgetall("{forebay:0}:conversation:c")) == {b"indexed", b"erased_at"}
            for file in tmp_path.rglob("*"):
                assert not file.is_file() or PLANTED.encode() not in file.read_bytes(), file.name


async def test_turns_that_the_first_version_wrote_are_erased_too(url: str, client: Redis) -> None:
    for name in ("c*", "cd"):
        for number in range(3):
            client.set(f"{{forebay:0}}:turn:2:{name}:t{number}", "me answered\n{}")
        client.hset(f"{{forebay:0}}:conversation:{name}", mapping={"version": "1.2.3", "exchanges": "1"})
        client.rpush(f"{{forebay:0}}:history:{name}", b'["hello","hi",null]')
    async with opened(url) as store:
        assert (await store.erase("c*", dry_run=True)).removed["replies"] == 3
        await store.record(entry("t4", conversation_id="c*"))
        erased = await store.erase("c*")
        assert (erased.removed["replies"], erased.removed["exchanges"]) == (4, 2)
        assert (await store.load("c*", "t0", 5)).reply is None
        assert (await store.load("cd", "t0", 5)).reply is not None
