"""Customers who write again while they wait, on real Kafka: merged, interrupted, refused, and after kills."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import Fault, ModelApi
from forebay.schemas import Cluster, Reply, Turn, decode_reply
from forebay.workers.assistants import Assistant, tool
from forebay.workers.conversations import Exchange, Store, StoredReply, StoreError, open_store
from forebay.workers.conversations.store import Entry

from .conftest import Fleet, read_topic, until
from .test_assistant import action_of, confirm, turn


async def asked(chat: ChatClient, *turns: Turn) -> list[asyncio.Task[Reply]]:
    """The turns, sent in this order."""
    tasks = []
    for each in turns:
        tasks.append(asyncio.create_task(chat.ask(each)))
        await asyncio.sleep(0)
    return tasks


async def held(chat: ChatClient, model_api: ModelApi, **fields: object) -> asyncio.Task[Reply]:
    """A turn whose call is under way and takes two seconds."""
    model_api.add_fault(Fault.SLOW_FIRST_TOKEN, count=1, seconds=2.0)
    task = asyncio.create_task(chat.ask(turn("first", **fields)))
    await until(lambda: model_api.stats().in_flight == 1)
    return task


async def test_what_waits_is_answered_by_one_call(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, cluster: Cluster
) -> None:
    await fleet.start(assistant=Assistant(when_busy="merge"))
    first = await held(chat, model_api)
    turns = [turn(text) for text in ("second", "third", "fourth")]
    replies = await asyncio.gather(first, *await asked(chat, *turns))
    assert [reply.outcome for reply in replies] == ["answered", "merged", "merged", "answered"]
    assert {reply.merged_into for reply in replies[1:3]} == {turns[-1].turn_id}
    assert (replies[1].text, replies[1].attempts, replies[1].cost_usd) == ("", 0, 0.0)
    assert "second third fourth" in replies[3].text
    assert model_api.stats().begun == 2
    assert [reply.turn_id for reply in await published(cluster)] == [
        replies[0].turn_id,
        *(each.turn_id for each in turns),
    ]
    assert await history(fleet) == ["first", "second\nthird\nfourth"]


async def test_each_turn_says_what_it_does(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start()
    first = await held(chat, model_api)
    turns = [
        turn("alone"),
        turn("with the next", when_busy="merge"),
        turn("with the last", when_busy="merge"),
        turn("not now", when_busy="reject"),
        turn("another's", when_busy="merge", user_id="u-2"),
        turn("alone too", when_busy="enqueue"),
    ]
    replies = await asyncio.gather(first, *await asked(chat, *turns))
    outcomes = [reply.outcome for reply in replies[1:]]
    assert outcomes == ["answered", "merged", "answered", "failed", "answered", "answered"]
    busy = replies[4]
    assert busy.error is not None
    assert (busy.error.code, busy.attempts) == ("conversation_busy", 0)
    assert [reply.created_at for reply in replies] == sorted(reply.created_at for reply in replies)
    assert await read_topic(fleet.cluster, fleet.cluster.topics.dead_letters) == []


async def test_an_idle_conversation_merges_and_refuses_nothing(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    await fleet.start()
    for rule in ("reject", "merge", "interrupt", "enqueue"):
        assert (await chat.ask(turn(f"alone, {rule}", when_busy=rule))).outcome == "answered"


async def test_a_word_on_an_action_is_never_merged(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    ran = []

    @tool(confirm=True, summary="Pay {amount}")
    async def pay(amount: int) -> str:
        """Pays."""
        ran.append(amount)
        return "paid"

    await fleet.start(assistant=Assistant(tools=(pay,), when_busy="interrupt"))
    action_id = action_of(await chat.ask(turn('use tool pay {"amount": 5}')))
    first = await held(chat, model_api, when_busy="enqueue")
    turns = [turn("before", when_busy="merge"), confirm(action_id), turn("after", when_busy="merge")]
    replies = await asyncio.gather(first, *await asked(chat, *turns))
    assert [reply.outcome for reply in replies] == ["answered"] * 4
    assert ran == [5]


async def test_an_interrupted_call_is_ended_and_answered_together(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    model_api.add_fault(Fault.HANG, count=1)
    await fleet.start()
    (first,) = await asked(chat, turn("Where is it"))
    await until(lambda: model_api.stats().in_flight == 1)
    again = turn("my order 1001", when_busy="interrupt")
    (second,) = await asked(chat, again)
    replies = [await first, await second]
    assert [reply.outcome for reply in replies] == ["merged", "answered"]
    assert replies[0].merged_into == again.turn_id
    assert "Where is it my order 1001" in replies[1].text
    assert replies[1].attempts == 2, "the call that was ended counts"
    assert replies[1].usage.input_tokens > 0
    assert model_api.stats().begun == 2
    await until(lambda: model_api.stats().in_flight == 0)


async def test_another_users_call_is_not_interrupted(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start()
    first = await held(chat, model_api)
    (second,) = await asked(chat, turn("mine", user_id="u-2", when_busy="interrupt"))
    assert [(await first).outcome, (await second).outcome] == ["answered", "answered"]
    assert model_api.stats().begun == 2


async def test_a_tool_that_changes_something_is_not_run_twice(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    begun, go_on, runs = asyncio.Event(), asyncio.Event(), []

    async def change() -> str:
        """Changes something."""
        runs.append("change")
        begun.set()
        await go_on.wait()
        return "changed"

    @tool(read_only=True)
    async def look() -> str:
        """Looks something up."""
        runs.append("look")
        begun.set()
        await go_on.wait()
        return "seen"

    await fleet.start(assistant=Assistant(tools=(change, look), when_busy="interrupt"))
    for name, outcome in (("change", "answered"), ("look", "merged")):
        begun.clear()
        go_on.clear()
        (first,) = await asked(chat, turn(f"use tool {name} {{}}", conversation_id=name))
        await begun.wait()
        (second,) = await asked(chat, turn("hello??", conversation_id=name))
        await until(lambda: next(iter(fleet.running))._dispatch.waiting == 1)
        go_on.set()
        assert (await first).outcome == outcome
        assert (await second).outcome == "answered"
        assert runs.count(name) == 1 if name == "change" else runs.count(name) >= 1


async def test_a_part_of_a_group_is_taken_back(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start(assistant=Assistant(when_busy="merge"))
    first = await held(chat, model_api)
    turns = [turn(text) for text in ("second", "third", "fourth")]
    tasks = await asked(chat, *turns)
    await until(lambda: next(iter(fleet.running))._dispatch.waiting == 3)
    await chat.cancel(turns[1])
    model_api.add_fault(Fault.HANG, count=1)
    await first
    await until(lambda: model_api.stats().begun == 2)
    await chat.cancel(turns[2])
    replies = await asyncio.gather(*tasks)
    assert [reply.outcome for reply in replies] == ["answered", "cancelled", "cancelled"]
    assert "second" in replies[0].text
    assert "third" not in replies[0].text
    assert await history(fleet) == ["first", "second"]


class Failing:
    """A store whose next record is lost with its worker."""

    def __init__(self, store: Store) -> None:
        self._store, self.recorded = store, asyncio.Event()
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def record(self, entry: Entry, *, replace: bool = False) -> tuple[StoredReply, ...]:
        if self.fails and entry.others:
            self.recorded.set()
            raise StoreError("away")
        return await self._store.record(entry, replace=replace)


async def test_a_group_whose_worker_dies_is_answered_once(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, cluster: Cluster
) -> None:
    """Killed before the record: asked again, whole. Killed after it: published again, as it was."""
    store = Failing(open_store(fleet.store_url))
    store.fails = True
    worker = await fleet.start(assistant=Assistant(when_busy="merge"), store=store)
    first = await held(chat, model_api)
    turns = [turn(text) for text in ("second", "third")]
    tasks = await asked(chat, *turns)
    await first
    await store.recorded.wait()
    await fleet.crash(worker)
    another = await fleet.start(assistant=Assistant(when_busy="merge"))
    replies = await asyncio.gather(*tasks)
    assert [reply.outcome for reply in replies] == ["merged", "answered"]
    calls = model_api.stats().begun
    await until(lambda: another._dispatch.in_flight == 0)
    await fleet.crash(another)
    await fleet.start(assistant=Assistant(when_busy="merge"))
    assert (await chat.ask(turn("fourth"))).outcome == "answered"
    assert model_api.stats().begun == calls + 1
    by_turn: dict[str, set[str]] = {}
    for reply in await published(cluster):
        by_turn.setdefault(reply.turn_id, set()).add(reply.model_dump_json())
    assert all(len(different) == 1 for different in by_turn.values())
    await store.close()


async def published(cluster: Cluster) -> list[Reply]:
    return [decode_reply(record.value) for record in await read_topic(cluster, cluster.topics.replies)]


async def history(fleet: Fleet) -> Sequence[str]:
    store = open_store(fleet.store_url)
    try:
        return [
            exchange.said for exchange in (await store.load("c-1", "x", 9)).history if isinstance(exchange, Exchange)
        ]
    finally:
        await store.close()
