"""The store: one suite that every kind of store passes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from schemas import SettingsError
from workers.conversations import (
    CLAIM_S,
    Claim,
    Conversation,
    Entry,
    Exchange,
    Loaded,
    State,
    StoredReply,
    StoreError,
    open_store,
)
from workers.conversations.sqlite import SQLiteStore
from workers.models import Message, ToolCall, ToolResult


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(str(tmp_path / "conversations.db"))
    yield store
    await store.close()


def entry(turn_id: str, value: bytes = b"{}", conversation_id: str = "c", outcome: str = "answered") -> Entry:
    exchange = Exchange(f"said {turn_id}", f"answer {turn_id}") if outcome == "answered" else None
    return Entry(conversation_id, turn_id, StoredReply(outcome, value), exchange)  # type: ignore[arg-type]


async def test_an_unknown_turn_has_no_past(store: SQLiteStore) -> None:
    assert await store.load("c", "t", 20) == Loaded(None, ())


async def test_history_is_in_order_and_bounded(store: SQLiteStore) -> None:
    for number in range(30):
        await store.record(entry(f"t{number}"))
    loaded = await store.load("c", "t-new", 5)
    assert [exchange.said for exchange in loaded.history] == [f"said t{number}" for number in range(25, 30)]
    assert (await store.load("other", "t-new", 5)).history == ()


async def test_the_first_reply_counts(store: SQLiteStore) -> None:
    assert (await store.record(entry("t", b"first"))).value == b"first"
    assert (await store.record(entry("t", b"second"))).value == b"first"
    assert (await store.record(entry("t", b"third"), replace=True)).value == b"first"
    assert (await store.load("c", "t", 5)).reply == StoredReply("answered", b"first")


async def test_a_failed_reply_is_replaced_by_a_replay_and_left_no_trace(store: SQLiteStore) -> None:
    await store.record(entry("t", b"failed", outcome="failed"))
    assert (await store.load("c", "u", 5)).history == ()
    assert (await store.record(entry("t", b"again"))).value == b"failed"
    assert (await store.record(entry("t", b"again"), replace=True)).value == b"again"
    assert len((await store.load("c", "u", 5)).history) == 1


async def test_the_same_turn_id_in_two_conversations_is_two_turns(store: SQLiteStore) -> None:
    await store.record(entry("t", b"one", "c-1"))
    await store.record(entry("t", b"two", "c-2"))
    assert (await store.load("c-1", "t", 5)).reply == StoredReply("answered", b"one")
    assert (await store.load("c-2", "t", 5)).reply == StoredReply("answered", b"two")


async def test_tools_are_remembered_with_their_exchange(store: SQLiteStore) -> None:
    steps = (
        Message("assistant", "", (ToolCall("1", "get_stock", '{"sku": "蓝"}'),)),
        Message("tool", results=(ToolResult("1", "12", False), ToolResult("2", "broken", True))),
    )
    exchange = Exchange("how many?", "12", steps)
    await store.record(entry("t")._replace(exchange=exchange))
    (kept,) = (await store.load("c", "u", 5)).history
    assert kept == exchange
    assert [message.role for message in kept.messages()] == ["user", "assistant", "tool", "assistant"]


async def test_what_a_turn_changes_in_its_conversation(store: SQLiteStore) -> None:
    state = State(specialist="orders", failures=2, vault={"PHONE": ["13800138000"]}, sessions={"a": "s"})
    await store.record(entry("t-1")._replace(state=state))
    await store.record(entry("t-2"))
    await store.record(entry("t-3", outcome="handed_off")._replace(hand_off="asked_for"))
    assert (await store.load("c", "u", 5)).conversation == Conversation(2, state, "", 0, "asked_for")
    await store.record(entry("t-4", outcome="handed_off"))
    assert (await store.load("c", "u", 5)).conversation.handed_off == "asked_for"
    await store.save_state("c", state := State(specialist="orders"))
    await store.record(entry("t-5", b"late")._replace(state=state))
    await store.record(entry("t-5", b"later")._replace(state=State(failures=9)))
    assert (await store.load("c", "u", 5)).conversation.state == state, "the reply that came second changes nothing"
    assert await store.give_back("c")
    assert not await store.give_back("c")
    assert not await store.give_back("never heard of")
    assert (await store.load("c", "u", 5)).conversation == Conversation(3, state)


async def test_a_summary_only_grows(store: SQLiteStore) -> None:
    await store.record(entry("t"))
    await store.save_summary("c", "of ten", 10)
    await store.save_summary("c", "of five", 5)
    conversation = (await store.load("c", "u", 5)).conversation
    assert (conversation.summary, conversation.summarised) == ("of ten", 10)
    await store.record(entry("t-2")._replace(state=State(failures=1)))
    assert (await store.load("c", "u", 5)).conversation.summary == "of ten"


async def test_a_claim_keeps_others_away_until_it_ends(store: SQLiteStore) -> None:
    first, second = Claim("c", "t", "first"), Claim("c", "t", "second")
    assert (await store.load("c", "t", 5, owner="first")).claimed_s == 0
    assert (await store.load("c", "t", 5, owner="first")).claimed_s == 0
    assert 0 < (await store.load("c", "t", 5, owner="second")).claimed_s <= CLAIM_S
    assert (await store.load("c", "another", 5, owner="second")).claimed_s == 0
    assert (await store.load("c", "t", 5)).claimed_s == 0, "who only looks is told nothing"
    await store.release(second)
    assert (await store.load("c", "t", 5, owner="second")).claimed_s > 0
    await store.release(first)
    assert (await store.load("c", "t", 5, owner="second")).claimed_s == 0
    await store.renew([first])
    assert (await store.load("c", "t", 5, owner="first")).claimed_s > 0, "what is lost cannot be renewed"
    await store.record(entry("t"))
    assert (await store.load("c", "t", 5, owner="first")).claimed_s == 0
    assert (await store.load("c", "t", 5, owner="second")).claimed_s == 0


async def test_of_many_that_claim_one_gets_it(tmp_path: Path) -> None:
    stores = [SQLiteStore(str(tmp_path / "shared.db")) for _ in range(2)]
    for number in range(50):
        claims = [store.load("c", f"t{number}", 5, owner=f"{at}") for at, store in enumerate(stores * 5)]
        assert [loaded.claimed_s for loaded in await asyncio.gather(*claims)].count(0.0) == 1
    for store in stores:
        await store.close()


async def test_many_at_once_from_two_workers(tmp_path: Path) -> None:
    path = str(tmp_path / "shared.db")
    stores = [SQLiteStore(path), SQLiteStore(path)]
    results = await asyncio.gather(
        *(
            store.record(entry(f"t{number}", f"{index}".encode()))
            for number in range(300)
            for index, store in enumerate(stores)
        )
    )
    assert len(results) == 600
    for number in range(300):
        replies = {(await store.load("c", f"t{number}", 1)).reply for store in stores}
        assert len(replies) == 1
    assert len((await stores[0].load("c", "x", 1_000)).history) == 300
    for store in stores:
        await store.close()


async def test_a_store_that_is_locked_says_so_and_recovers(tmp_path: Path) -> None:
    path = str(tmp_path / "locked.db")
    store = SQLiteStore(path)
    store._database.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        await store.record(entry("t"))
    other.rollback()
    other.close()
    assert (await store.record(entry("t", b"x"))).value == b"x"
    await store.close()


async def test_what_was_recorded_survives(tmp_path: Path) -> None:
    path = str(tmp_path / "kept.db")
    store = SQLiteStore(path)
    await store.record(entry("t", b"kept"))
    await store.close()
    again = SQLiteStore(path)
    assert (await again.load("c", "t", 1)).reply == StoredReply("answered", b"kept")
    await again.close()


async def test_old_turns_are_forgotten(store: SQLiteStore) -> None:
    await store.record(entry("old"))
    await store.record(entry("new"))
    store._database.execute("UPDATE turns SET at = 0 WHERE turn_id = 'old'")
    assert await store.forget_old() == 1
    assert (await store.load("c", "old", 5)).reply is None
    assert len((await store.load("c", "x", 5)).history) == 1


@pytest.mark.parametrize("url", ["", "sqlite://x", "mysql:///x", "sqlite:///", "redis://127.0.0.1"])
async def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="SPILLWAY_STORE"):
        open_store(url)


async def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unable to open"):
        open_store(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    (tmp_path / "text.db").write_text("this is no database at all, not even a little one")
    with pytest.raises(SettingsError, match="not a database"):
        open_store(f"sqlite:///{tmp_path}/text.db")
