"""The store: one suite that every kind of store passes."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis import Redis

from forebay.rehearsal.servers.redis import EmbeddedRedis
from forebay.workers.conversations import (
    CLAIM_S,
    Claim,
    Conversation,
    Entry,
    Exchange,
    HistoryPage,
    Loaded,
    Participant,
    State,
    Store,
    StoredReply,
    open_store,
)
from forebay.workers.models import Message, ToolCall, ToolResult
from forebay.workers.spent import HOUR_S

Another = Callable[[], Store]
"""Opens the store of one more worker, on the same data."""


@pytest_asyncio.fixture(params=["sqlite", "sqlite, sealed", "redis", "redis, sealed", "redis?shards=3"])
async def another(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Another]:
    kind, _, sealed = request.param.partition(", ")
    key = SecretStr("k1:" + base64.b64encode(bytes(32)).decode()) if sealed else None
    url = f"sqlite:///{tmp_path / 'conversations.db'}"
    if kind != "sqlite":
        server: EmbeddedRedis = request.getfixturevalue("redis")
        url = f"redis://127.0.0.1:{server.port}/7"
        with Redis.from_url(url) as client:
            client.flushdb()
        url += kind.removeprefix("redis")
    stores: list[Store] = []

    def another() -> Store:
        stores.append(open_store(url, key))
        return stores[-1]

    yield another
    for store in stores:
        await store.close()


@pytest_asyncio.fixture
async def store(another: Another) -> Store:
    return another()


def entry(turn_id: str, value: bytes = b"{}", conversation_id: str = "c", outcome: str = "answered") -> Entry:
    exchange = Exchange(f"said {turn_id}", f"answer {turn_id}") if outcome == "answered" else None
    return Entry(conversation_id, turn_id, StoredReply(outcome, value), exchange)  # type: ignore[arg-type]


async def test_an_unknown_turn_has_no_past(store: Store) -> None:
    assert await store.load("c", "t", 20) == Loaded(None, ())


async def test_history_is_in_order_and_bounded(store: Store) -> None:
    for number in range(30):
        await store.record(entry(f"t{number}"))
    loaded = await store.load("c", "t-new", 5)
    assert [exchange.said for exchange in loaded.history] == [f"said t{number}" for number in range(25, 30)]
    assert (await store.load("other", "t-new", 5)).history == ()


async def test_the_first_reply_counts(store: Store) -> None:
    assert (await store.record(entry("t", b"first")))[0].value == b"first"
    assert (await store.record(entry("t", b"second")))[0].value == b"first"
    assert (await store.record(entry("t", b"third"), replace=True))[0].value == b"first"
    assert (await store.load("c", "t", 5)).reply == StoredReply("answered", b"first")


def group(*turn_ids: str, by: str = "", conversation_id: str = "c") -> Entry:
    """The last one answers for all; ``by`` is the worker that says so."""
    *merged, lead = turn_ids
    others = tuple((turn_id, StoredReply("merged", f"{turn_id} into {lead}{by}".encode())) for turn_id in merged)
    return entry(lead, f"{lead}{by}".encode(), conversation_id)._replace(others=others)


def values(replies: Sequence[StoredReply]) -> list[str]:
    return [reply.value.decode() for reply in replies]


async def test_turns_that_end_together_are_one_step(store: Store) -> None:
    for turn_id in ("t1", "t2", "t3"):
        assert (await store.load("c", turn_id, 5, owner="me")).claimed_s == 0
    replies = await store.record(group("t1", "t2", "t3")._replace(scopes=("",), cost_usd=0.5))
    assert values(replies) == ["t3", "t1 into t3", "t2 into t3"]
    for turn_id, reply in zip(("t3", "t1", "t2"), replies, strict=True):
        loaded = await store.load("c", turn_id, 5, ("",), owner="another")
        assert (loaded.reply, loaded.claimed_s) == (reply, 0)
        assert [exchange.said for exchange in loaded.history] == ["said t3"]
        assert (loaded.conversation.exchanges, loaded.spent[""].in_day) == (1, 0.5)
    assert replies[1].final
    assert await store.record(group("t1", "t2", "t3")) == replies


async def test_of_turns_that_end_together_each_keeps_the_reply_it_has(store: Store) -> None:
    await store.record(entry("t1", b"alone"))
    await store.record(entry("t2", b"failed", outcome="failed"))
    assert values(await store.record(group("t1", "t2", "t3"))) == ["t3", "alone", "failed"]
    assert [exchange.said for exchange in (await store.load("c", "u", 5)).history] == ["said t1", "said t3"]
    late = group("t0", "t2", "t3", by=" late")._replace(state=State(failures=9), hand_off="asked_for", cost_usd=0.5)
    assert values(await store.record(late._replace(scopes=("",)))) == ["t3", "t0 into t3 late", "failed"]
    loaded = await store.load("c", "t0", 5, ("",))
    assert (loaded.conversation, loaded.spent[""].in_day) == (Conversation(2), 0.5)
    assert len(loaded.history) == 2


async def test_a_replay_replaces_failed_replies_of_turns_that_end_together(store: Store) -> None:
    for turn_id, outcome in (("t1", "failed"), ("t2", "expired"), ("t3", "cancelled"), ("t4", "failed")):
        await store.record(entry(turn_id, outcome.encode(), outcome=outcome))
    replies = await store.record(group("t1", "t2", "t3", "t4"), replace=True)
    assert values(replies) == ["t4", "t1 into t4", "t2 into t4", "cancelled"]
    assert (await store.load("c", "t1", 5)).reply == replies[1]
    assert len((await store.load("c", "u", 5)).history) == 1


async def test_two_workers_with_the_same_turns_in_other_groups_agree(another: Another) -> None:
    stores = [another(), another()]
    entries = [group("t1", "t2", by=" a"), group("t1", "t2", "t3", by=" b")]
    for number in range(20):
        asked = [
            store.record(entry._replace(conversation_id=f"c{number}"))
            for store, entry in zip(stores, entries, strict=True)
        ]
        (of_a, of_b), name = await asyncio.gather(*asked), f"c{number}"
        kept = [(await stores[0].load(name, turn_id, 5)).reply for turn_id in ("t1", "t2", "t3")]
        assert [of_a[1], of_a[0]] == [of_b[1], of_b[2]] == kept[:2]
        assert kept[2] == of_b[0]


async def test_a_failed_reply_is_replaced_by_a_replay_and_left_no_trace(store: Store) -> None:
    await store.record(entry("t", b"failed", outcome="failed"))
    assert (await store.load("c", "u", 5)).history == ()
    assert (await store.record(entry("t", b"again")))[0].value == b"failed"
    assert (await store.record(entry("t", b"again"), replace=True))[0].value == b"again"
    assert len((await store.load("c", "u", 5)).history) == 1


async def test_the_same_turn_id_in_two_conversations_is_two_turns(store: Store) -> None:
    await store.record(entry("t", b"one", "c-1"))
    await store.record(entry("t", b"two", "c-2"))
    assert (await store.load("c-1", "t", 5)).reply == StoredReply("answered", b"one")
    assert (await store.load("c-2", "t", 5)).reply == StoredReply("answered", b"two")


async def test_tools_are_remembered_with_their_exchange(store: Store) -> None:
    steps = (
        Message("assistant", "", (ToolCall("1", "get_stock", '{"sku": "蓝"}'),)),
        Message("tool", results=(ToolResult("1", "12", False), ToolResult("2", "broken", True))),
    )
    exchange = Exchange("how many?", "12", steps)
    await store.record(entry("t")._replace(exchange=exchange))
    (kept,) = (await store.load("c", "u", 5)).history
    assert kept == exchange
    assert [message.role for message in kept.messages()] == ["user", "assistant", "tool", "assistant"]


async def test_what_a_turn_changes_in_its_conversation(store: Store) -> None:
    state = State(specialist="orders", failures=2, vault={"PHONE_1": "13800138000"}, sessions={"a": "s"})
    await store.record(entry("t-1")._replace(state=state))
    await store.record(entry("t-2"))
    await store.record(entry("t-3", outcome="handed_off")._replace(hand_off="asked_for"))
    assert (await store.load("c", "u", 5)).conversation == Conversation(2, state, "", 0, "asked_for")
    await store.record(entry("t-4", outcome="handed_off"))
    assert (await store.load("c", "u", 5)).conversation.handed_off == "asked_for"
    claim = Claim("c", "t-5", "me")
    await store.load("c", "t-5", 5, owner="me")
    state = State(specialist="orders")
    assert await store.save_state(claim, state)
    assert not await store.save_state(claim._replace(owner="another"), State(failures=5))
    assert not await store.save_state(claim._replace(turn_id="t-6"), State(failures=5))
    await store.record(entry("t-5", b"late")._replace(state=state))
    await store.record(entry("t-5", b"later")._replace(state=State(failures=9)))
    assert (await store.load("c", "u", 5)).conversation.state == state, "the reply that came second changes nothing"
    assert not await store.save_state(claim, State(failures=5)), "its turn has ended"
    assert await store.give_back("c")
    assert not await store.give_back("c")
    assert not await store.give_back("never heard of")
    assert (await store.load("c", "u", 5)).conversation == Conversation(3, state)


async def test_history_is_given_in_pages_with_ids_and_times(store: Store) -> None:
    before = time.time() - 1
    assert await store.history("c") == HistoryPage((), None, Conversation())
    for number in range(7):
        await store.record(entry(f"t{number}")._replace(others=((f"m{number}", StoredReply("merged", b"")),)))
    await store.record(entry("t7", outcome="failed"))
    state = State(vault={"PHONE_1": "13800138000"})
    await store.record(entry("t8")._replace(state=state, hand_off="asked_for"))
    newest = await store.history("c", limit=3)
    assert [(one.turn_id, one.exchange.said) for one in newest.exchanges] == [
        ("t5", "said t5"),
        ("t6", "said t6"),
        ("t8", "said t8"),
    ]
    assert all(one.at is not None and before <= one.at <= time.time() for one in newest.exchanges)
    assert newest.conversation == Conversation(8, state, handed_off="asked_for")
    await store.record(entry("t9"))
    middle = await store.history("c", newest.before, limit=3)
    assert [one.turn_id for one in middle.exchanges] == ["t2", "t3", "t4"]
    oldest = await store.history("c", middle.before, limit=3)
    assert ([one.turn_id for one in oldest.exchanges], oldest.before) == (["t0", "t1"], None)
    assert (await store.history("other")).exchanges == ()


async def test_what_a_person_wrote_is_remembered_once_and_in_order(store: Store) -> None:
    await store.record(entry("t1"))
    assert await store.remember_message("c", "m1", "Anna", "I am looking into it.", 1_700_000_000.5)
    assert await store.remember_message("c", "t1", "", "It is an id of a turn, too.", 1_700_000_001)
    assert not await store.remember_message("c", "m1", "Anna", "I am looking into it.", 1_700_000_000.5)
    await store.record(entry("m1"))
    assert await store.remember_message("new", "m1", "Anna", "Hello!", 1_700_000_000)
    loaded = await store.load("c", "m1", 20)
    assert loaded.reply == StoredReply("answered", b"{}")
    assert loaded.conversation.exchanges == 4
    told = [(exchange.said, exchange.answer, exchange.person) for exchange in loaded.history]
    assert told == [
        ("said t1", "answer t1", None),
        ("", "I am looking into it.", "Anna"),
        ("", "It is an id of a turn, too.", ""),
        ("said m1", "answer m1", None),
    ]
    page = (await store.history("c")).exchanges
    assert [one.turn_id for one in page] == ["t1", "m1", "t1", "m1"]
    assert page[1].at is not None
    assert int(page[1].at) == 1_700_000_000
    assert len((await store.history("new")).exchanges) == 1


async def test_a_persons_message_is_seen_by_every_worker_at_once(another: Another) -> None:
    first, second = another(), another()
    await first.record(entry("t1"))
    assert len((await first.load("c", "u", 20)).history) == 1
    await second.remember_message("c", "m1", "Anna", "Hello.", time.time())
    assert len((await first.load("c", "u", 20)).history) == 2


async def test_who_speaks_in_a_conversation_is_known(store: Store) -> None:
    await store.record(entry("t1")._replace(user_id="u-1", tenant="shop"))
    await store.record(entry("t2")._replace(user_id="u-2"))
    await store.record(entry("t3")._replace(user_id="u-1", tenant="shop"))
    await store.record(entry("t4"))
    await store.record(entry("t5", conversation_id="d", outcome="failed")._replace(tenant="shop"))
    assert (await store.history("c")).participants == (Participant("u-1", "shop"), Participant("u-2", None))
    assert (await store.history("d")).participants == (Participant(None, "shop"),)


async def test_a_summary_only_grows(store: Store) -> None:
    await store.record(entry("t"))
    await store.save_summary("c", "of ten", 10)
    await store.save_summary("c", "of five", 5)
    conversation = (await store.load("c", "u", 5)).conversation
    assert (conversation.summary, conversation.summarised) == ("of ten", 10)
    await store.record(entry("t-2")._replace(state=State(failures=1)))
    assert (await store.load("c", "u", 5)).conversation.summary == "of ten"


async def test_what_summaries_cost_adds_up(store: Store) -> None:
    await store.save_summary("c", "of a conversation that is not there", 10, 0.5)
    await store.record(entry("t"))
    await store.save_summary("c", "of ten", 10, 0.25)
    await store.save_summary("c", "of five", 5, 0.125)
    conversation = (await store.load("c", "u", 5)).conversation
    assert (conversation.summary, conversation.summary_usd, conversation.owed_usd) == ("of ten", 0.375, 0.375)
    await store.record(entry("t-2")._replace(state=conversation.state.billed(0.375)))
    assert (await store.load("c", "u", 5)).conversation.owed_usd == 0


async def test_a_claim_keeps_others_away_until_it_ends(store: Store) -> None:
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


async def test_of_many_that_claim_one_gets_it(another: Another) -> None:
    stores = [another(), another()]
    for number in range(50):
        claims = [store.load("c", f"t{number}", 5, owner=f"{at}") for at, store in enumerate(stores * 5)]
        assert [loaded.claimed_s for loaded in await asyncio.gather(*claims)].count(0.0) == 1


async def test_many_at_once_from_two_workers(another: Another) -> None:
    stores = [another(), another()]
    results = await asyncio.gather(
        *(
            store.record(entry(f"t{number}", f"{index}".encode()))
            for number in range(150)
            for index, store in enumerate(stores)
        )
    )
    assert len(results) == 300
    for number in range(150):
        replies = {(await store.load("c", f"t{number}", 1)).reply for store in stores}
        assert len(replies) == 1
    assert len((await stores[0].load("c", "x", 1_000)).history) == 150


async def test_what_was_recorded_survives_the_worker(another: Another) -> None:
    store = another()
    await store.record(entry("t", b"kept"))
    await store.close()
    assert (await another().load("c", "t", 1)).reply == StoredReply("answered", b"kept")


async def test_two_workers_see_what_the_other_did(another: Another) -> None:
    first, second = another(), another()
    for number in range(1, 6):
        store = (first, second)[number % 2]
        await store.record(entry(f"t{number}"))
        for reader in (first, second):
            loaded = await reader.load("c", "u", 3)
            assert [exchange.said for exchange in loaded.history] == [
                f"said t{at}" for at in range(max(1, number - 2), number + 1)
            ]
            assert loaded.conversation.exchanges == number
    assert len((await first.load("c", "u", 20)).history) == 5
    assert len((await first.load("c", "u", 2)).history) == 2
    assert (await first.load("c", "u", 0)).history == ()


async def test_spending_counts_for_all_workers(another: Another) -> None:
    first, second = another(), another()
    scopes = ("", "tenant:a b")
    for number in range(8):
        done = entry(f"t{number}", conversation_id=f"c{number}")
        await (first, second)[number % 2].record(done._replace(scopes=scopes[: 1 + number % 2], cost_usd=0.25))
    late = entry("t0", b"late", "c0")._replace(scopes=scopes, cost_usd=0.125)
    assert (await second.record(late))[0].value == b"{}"
    assert (await first.load("x", "t", 1)).spent == {}
    spent = (await first.load("x", "t", 1, ("", "tenant:a b", "tenant:c"))).spent
    assert {scope: (usd.in_hour, usd.in_day) for scope, usd in spent.items()} == {
        "": (2.125, 2.125),
        "tenant:a b": (1.125, 1.125),
        "tenant:c": (0, 0),
    }
    assert all(abs(usd.hour - time.time() // HOUR_S) <= 1 for usd in spent.values())


async def test_ids_may_be_anything(store: Store) -> None:
    names = ("{a}", "a:b", "订单 1", "c\n\x00", "1:a", "{")
    for name in names:
        for turn_id in names:
            assert (await store.load(name, turn_id, 50, owner="{o}\n")).reply is None
            await store.record(entry(turn_id, f"{name} {turn_id}\n\n".encode(), name))
    for name in names:
        for turn_id in names:
            loaded = await store.load(name, turn_id, 50)
            assert loaded.reply == StoredReply("answered", f"{name} {turn_id}\n\n".encode())
            assert [exchange.said for exchange in loaded.history] == [f"said {turn}" for turn in names]


async def test_what_cannot_be_stored_is_told_and_hurts_nobody_else(store: Store) -> None:
    """Half of a character, which JSON and Python take and no encoding does."""
    bad = entry("t-bad")._replace(exchange=Exchange("half a \ud83d", "answer"))
    results = await asyncio.gather(
        store.record(entry("t-1")), store.record(bad), store.record(entry("t-2")), return_exceptions=True
    )
    assert [type(result) for result in results] == [tuple, UnicodeEncodeError, tuple] or isinstance(
        results[1], TypeError
    )
    assert (await store.load("c", "t-1", 5)).reply is not None
    assert (await store.load("c", "t-2", 5)).reply is not None
    assert (await store.record(entry("t-3", b"x")))[0].value == b"x"
