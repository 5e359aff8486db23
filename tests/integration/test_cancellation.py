"""Turns that are taken back, on real Kafka: waiting, running, too late, before their turn, across workers."""

from __future__ import annotations

import asyncio

import pytest

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import Fault, ModelApi
from forebay.schemas import Cluster, Reply, Turn
from forebay.workers.assistants import Assistant, tool
from forebay.workers.conversations import open_store
from forebay.workers.engine.dispatch import RunningTurn

from .conftest import Fleet, until
from .test_assistant import Shop, action_of, confirm, turn


async def settled(chat: ChatClient, asked: asyncio.Task[Reply], of: Turn) -> Reply:
    await chat.cancel(of)
    return await asked


async def test_a_running_call_is_ended_and_its_connection_closed(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    model_api.add_fault(Fault.HANG, count=1)
    await fleet.start()
    wanted = turn("Where is my order?")
    asked = asyncio.create_task(chat.ask(wanted))
    await until(lambda: model_api.stats().in_flight == 1)
    reply = await settled(chat, asked, wanted)
    assert (reply.outcome, reply.text, reply.error, reply.attempts) == ("cancelled", "", None, 1)
    assert reply.usage.input_tokens > 0, "what was paid is counted"
    assert reply.cost_usd
    await until(lambda: model_api.stats().in_flight == 0)
    following = await chat.ask(turn("And now?"))
    assert following.outcome == "answered"
    assert "Where is my order" not in following.text, "what nobody answered is not part of the conversation"


async def test_a_waiting_turn_costs_no_call_and_keeps_its_place(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    model_api.add_fault(Fault.SLOW_FIRST_TOKEN, count=1, seconds=2.0)
    await fleet.start()
    first, second, third = turn("one"), turn("two"), turn("three")
    tasks = [asyncio.create_task(chat.ask(each)) for each in (first, second, third)]
    await until(lambda: model_api.stats().begun == 1)
    await chat.cancel(second)
    replies = await asyncio.gather(*tasks)
    assert [reply.outcome for reply in replies] == ["answered", "cancelled", "answered"]
    assert replies[0].created_at <= replies[1].created_at <= replies[2].created_at
    assert model_api.stats().begun == 2
    assert "two" not in replies[2].text


async def test_no_permit_is_needed_to_cancel_what_waits(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    model_api.add_fault(Fault.HANG, count=1)
    await fleet.start(concurrency=1)
    busy = asyncio.create_task(chat.ask(turn("busy", conversation_id="c-2")))
    await until(lambda: model_api.stats().in_flight == 1)
    waiting = turn("waits", conversation_id="c-3")
    assert (await settled(chat, asyncio.create_task(chat.ask(waiting)), waiting)).outcome == "cancelled"
    assert model_api.stats().begun == 1
    busy.cancel()


@pytest.mark.parametrize("user", ["u-1", None])
async def test_a_cancellation_may_come_before_its_turn_and_before_the_worker(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, user: str | None
) -> None:
    early, other = turn("early"), turn("other", conversation_id="c-2")
    await chat.cancel(early, user_id=user)
    await chat.cancel(other, user_id="somebody else")
    await fleet.start()
    assert (await chat.ask(early)).outcome == "cancelled"
    assert (await chat.ask(other)).outcome == "answered", "only its own user, or a server, takes a turn back"


async def test_what_comes_too_late_changes_nothing(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start()
    wanted = turn("Hello")
    reply = await chat.ask(wanted)
    await chat.cancel(wanted)
    again = await chat.ask(wanted)
    assert again == reply
    assert (await chat.ask(turn("And?"))).outcome == "answered"


async def test_what_the_customer_saw_is_the_answer(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    model_api.add_fault(Fault.HANG, count=1, after=3)
    await fleet.start()
    wanted = turn("Tell me about jo@example.com at length, please, with all there is", stream=True)
    seen: list[str] = []
    reply: Reply | None = None
    async for heard in chat.stream(wanted):
        if isinstance(heard, Reply):
            reply = heard
        else:
            seen.append(heard.text)
            await chat.cancel(wanted)
    assert reply is not None
    assert reply.outcome == "cancelled"
    assert reply.text
    assert reply.text.startswith("".join(seen))
    assert reply.usage.output_tokens > 0
    store = open_store(fleet.store_url)
    (exchange,) = (await store.load("c-1", "x", 5)).history
    assert exchange.answer
    assert "jo@example.com" not in str(exchange)
    await store.close()


async def test_a_tool_that_began_is_not_torn_out_of_its_middle(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        """Takes its time."""
        begun.set()
        await go_on.wait()
        ended.set()
        return "looked up"

    await fleet.start(assistant=Assistant(tools=(slow,)))
    wanted = turn("use tool slow {}")
    asked = asyncio.create_task(chat.ask(wanted))
    await begun.wait()
    await chat.cancel(wanted)
    follower = asyncio.create_task(chat.ask(turn("Then?")))
    await until(lambda: any(running.group.cancelled(running.group.turns[0]) for running in _running(fleet)))
    assert not asked.done()
    go_on.set()
    assert (await asked).outcome == "cancelled"
    assert ended.is_set()
    assert model_api.stats().begun == 1 + 1 * ((await follower).outcome == "answered")
    assert "looked up" in str(await _history(fleet)), "what the tool found out is remembered"


async def test_a_confirmed_action_runs_to_its_end_and_is_told(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    shop = Shop()
    begun, go_on = asyncio.Event(), asyncio.Event()

    @tool(confirm=True, summary="Pay {amount}")
    async def pay(amount: int) -> str:
        """Pays."""
        begun.set()
        await go_on.wait()
        shop.ran.append(("pay", amount))
        return "paid"

    await fleet.start(assistant=Assistant(tools=(pay,)))
    word = confirm(action_of(await chat.ask(turn('use tool pay {"amount": 5}'))))
    asked = asyncio.create_task(chat.ask(word))
    await begun.wait()
    await chat.cancel(word)
    await until(lambda: any(running.group.cancelled(running.group.turns[0]) for running in _running(fleet)))
    go_on.set()
    reply = await asked
    assert (reply.outcome, reply.text) == ("answered", "Done: Pay 5")
    assert shop.ran == [("pay", 5)]
    assert model_api.stats().begun == 1


async def test_it_holds_across_a_crash(fleet: Fleet, chat: ChatClient, model_api: ModelApi, cluster: Cluster) -> None:
    model_api.add_fault(Fault.HANG, count=1)
    first = await fleet.start()
    wanted = turn("Where is it?")
    asked = asyncio.create_task(chat.ask(wanted))
    await until(lambda: model_api.stats().in_flight == 1)
    await fleet.crash(first)
    await chat.cancel(wanted)
    await fleet.start()
    assert (await asked).outcome == "cancelled"
    assert model_api.stats().begun == 1


def _running(fleet: Fleet) -> list[RunningTurn]:
    (worker,) = fleet.running
    return list(worker._dispatch.running.values())


async def _history(fleet: Fleet) -> object:
    store = open_store(fleet.store_url)
    try:
        return (await store.load("c-1", "x", 5)).history
    finally:
        await store.close()
