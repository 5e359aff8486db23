"""An assistant whose own code does what it should not: its turn hears of it, the action runs once, the worker lives on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import ModelApi
from forebay.rehearsal.worker_processes import WorkerProcess
from forebay.schemas import Cluster, Reply, Turn
from forebay.workers.assistants import Assistant, Customer, HandOff, IdempotencyKey, tool
from forebay.workers.conversations import Claim, State, Store, StoreError, open_store

from .conftest import Fleet, read_topic, until
from .test_assistant import action_of, confirm, turn
from .test_last_resort import REFUSED


def leave() -> str:
    """Ends the process, it thinks."""
    sys.exit(3)


async def cancelled() -> str:
    """Lets a cancellation of its own out."""
    raise asyncio.CancelledError


def interrupted() -> str:
    """As on Ctrl-C."""
    raise KeyboardInterrupt


def deep() -> list[Any]:
    """Returns more levels than anybody reads."""
    found: list[Any] = []
    for _ in range(900):
        found = [found, "13800138000"]
    return found


def big() -> dict[str, int]:
    """Returns a number of more than 64 bits."""
    return {"refund": 2**70}


def half() -> str:
    """Returns half of a character."""
    return "half \ud83d of it"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (leave, "the tool failed"),
        (cancelled, "the tool failed"),
        (interrupted, "the tool failed"),
        (deep, ""),
        (big, "1180591620717411303424"),
        (half, "half ? of it"),
    ],
)
async def test_whatever_a_tool_does_its_turn_is_answered(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, function: Callable[[], Any], told: str
) -> None:
    await fleet.start(assistant=Assistant(tools=(function,)))
    reply = await chat.ask(turn(f"use tool {function.__name__} {{}}"))
    assert reply.outcome == "answered"
    assert told in reply.text
    assert (await chat.ask(turn("Still there?"))).outcome == "answered"


@pytest.mark.parametrize("rule", ["complexity", "last_resort", "when"])
@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), ValueError("no")])
async def test_whatever_a_rule_raises_its_turn_has_a_reply(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, rule: str, error: BaseException
) -> None:
    def raising(_: Any) -> Any:
        raise error

    given = {"hand_off": HandOff(when=raising, on_request=False)} if rule == "when" else {rule: raising}
    await fleet.start(assistant=Assistant(**given))
    reply = await chat.ask(turn(REFUSED))
    assert (reply.outcome, reply.error is None) == ("failed", False)
    assert len(await read_topic(fleet.cluster, fleet.cluster.topics.dead_letters)) == 1


@pytest.mark.parametrize("text", ["half \ud83d of it", 7, b"bytes", ""])
async def test_a_rule_that_answers_garbage(fleet: Fleet, chat: ChatClient, model_api: ModelApi, text: Any) -> None:
    await fleet.start(assistant=Assistant(last_resort=lambda _: text))
    reply = await chat.ask(turn(REFUSED))
    assert reply.error is not None
    assert reply.error.code == "rejected_by_model", "the rule is passed over, and the log says so"


async def test_what_a_rule_answers_is_hidden_too(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start(assistant=Assistant(last_resort=lambda _: "Call us."))
    await chat.ask(turn(f"My number is 13800138000. {REFUSED}"))
    store = open_store(fleet.store_url)
    loaded = await store.load("c-1", "x", 5)
    assert "13800138000" not in str(loaded.history)
    assert "13800138000" in loaded.conversation.state.vault.values()
    await store.close()


class Actions:
    """What ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def assistant(self, returned: Any = "done", wait: Callable[[], Any] = lambda: None) -> Assistant:
        def odd_summary(arguments: dict[str, Any], _: Customer | None) -> Any:
            return {"raises": None, "empty": "  ", "number": 7}[arguments["how"]].strip()  # type: ignore[union-attr]

        @tool(confirm=True, summary="Send {sku} back")
        async def send_back(sku: str) -> Any:
            """Takes no key: it must not run twice."""
            self.ran.append(sku)
            await asyncio.sleep(0)
            wait()
            return returned

        @tool(confirm=True, summary=odd_summary)
        def odd(how: str, key: IdempotencyKey) -> str:
            """Its summary is no summary."""
            return how

        return Assistant(tools=(send_back, odd))


@pytest.mark.parametrize("returned", ["half \ud83d of it", {"refund": 2**70}, object(), "x" * 600_000])
async def test_an_action_that_ran_is_told_as_done(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, returned: Any
) -> None:
    actions = Actions()
    await fleet.start(assistant=actions.assistant(returned))
    action_id = action_of(await chat.ask(turn('use tool send_back {"sku": "S1"}')))
    reply = await chat.ask(confirm(action_id))
    assert reply.outcome == "answered"
    assert "error" not in reply.text
    assert "already" in (await chat.ask(confirm(action_id))).text
    assert actions.ran == ["S1"]


@pytest.mark.parametrize("how", ["raises", "empty", "number"])
async def test_a_summary_that_is_none_is_the_models_to_know(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, how: str
) -> None:
    await fleet.start(assistant=Actions().assistant())
    reply = await chat.ask(turn(f'use tool odd {{"how": "{how}"}}'))
    assert reply.outcome == "answered"
    assert "the tool failed" in reply.text


async def test_an_action_is_told_even_where_no_model_will_word_it(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    actions = Actions()
    await fleet.start(assistant=actions.assistant(), max_waiting=100)
    action_id = action_of(await chat.ask(turn('use tool send_back {"sku": "S1"}')))
    reply = await chat.ask(confirm(action_id, text=REFUSED))
    assert reply.outcome == "answered"
    assert reply.text == "Done: Send S1 back"
    assert actions.ran == ["S1"]


async def test_another_tenants_customer_of_the_same_name_may_not_agree(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    actions = Actions()
    await fleet.start(assistant=actions.assistant())
    action_id = action_of(await chat.ask(turn('use tool send_back {"sku": "S1"}', tenant="a")))
    assert (await chat.ask(confirm(action_id, tenant="b"))).outcome == "failed"
    assert actions.ran == []


class Failing:
    """A store that does not answer once, or loses a claim once, in the middle of an action."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.saves: list[bool | StoreError] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def save_state(self, claim: Claim, state: State, erased_at: float | None = None) -> bool:
        outcome = self.saves.pop(0) if self.saves else True
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome and await self._store.save_state(claim, state, erased_at)


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("outcome", [StoreError("away"), False])
async def test_a_store_that_fails_in_the_middle_of_an_action(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, at: int, outcome: bool | StoreError
) -> None:
    """Before it begins, and after it has run: in no case does it run twice or is its turn without a reply."""
    actions, store = Actions(), Failing(open_store(fleet.store_url))
    await fleet.start(assistant=actions.assistant(), store=store)
    action_id = action_of(await chat.ask(turn('use tool send_back {"sku": "S1"}')))
    store.saves = [True, outcome] if at else [outcome]
    reply = await chat.ask(confirm(action_id))
    # A claim that was lost after the run, with nothing recorded by anyone, leaves an outcome nobody knows.
    assert reply.outcome == ("handed_off" if at and outcome is False else "answered")
    assert actions.ran == ["S1"]
    await store.close()


async def test_a_stopped_worker_does_not_put_an_old_state_in_place_of_a_new_one(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    """It wakes up in the middle of an action that another worker has told and settled meanwhile."""
    actions = Actions()
    slow, awake = asyncio.Event(), asyncio.Event()
    saved: list[bool] = []
    store = open_store(fleet.store_url)

    class Sleeping(Failing):
        async def save_state(self, claim: Claim, state: State, erased_at: float | None = None) -> bool:
            if state.pending and state.pending.result is not None:
                slow.set()
                await awake.wait()
                saved.append(await self._store.save_state(claim, state, erased_at))
                return saved[-1]
            return await self._store.save_state(claim, state, erased_at)

    await fleet.start(assistant=actions.assistant(), store=Sleeping(store))
    action_id = action_of(await chat.ask(turn('use tool send_back {"sku": "S1"}')))
    word: Turn = confirm(action_id)
    told: asyncio.Task[Reply] = asyncio.create_task(chat.ask(word))
    await slow.wait()
    # What another worker does: it takes the claim over, and the conversation goes on.
    held = (await store.load("c-1", word.turn_id, 5, owner="another")).claimed_s
    assert held > 0
    store._database.execute("UPDATE claims SET owner = 'another'")  # type: ignore[attr-defined]
    newer = State(vault={"EMAIL_1": "jo@example.com"})
    assert await store.save_state(Claim("c-1", word.turn_id, "another"), newer)
    awake.set()
    await until(lambda: bool(saved))
    assert saved[0] is False
    assert (await store.load("c-1", "x", 5)).conversation.state == newer
    await store.release(Claim("c-1", word.turn_id, "another"))
    await told
    assert actions.ran == ["S1"]
    await store.close()


async def test_a_tool_that_hangs_does_not_keep_a_worker_from_ending(
    cluster: Cluster, chat: ChatClient, model_api: ModelApi, tmp_path: Path
) -> None:
    (tmp_path / "hanging.py").write_text(
        "import pathlib, time\nfrom forebay.workers.assistants import Assistant\n"
        "def hang() -> str:\n    'Never ends.'\n    pathlib.Path('hangs').touch()\n    time.sleep(3_600)\n"
        "assistant = Assistant(tools=(hang,))\n"
    )
    environment = {
        "FOREBAY_KAFKA": cluster.kafka,
        "FOREBAY_TOPIC_PREFIX": cluster.topic_prefix,
        "FOREBAY_ASSISTANT": "hanging:assistant",
        "FOREBAY_STORE": f"sqlite:///{tmp_path / 'store.db'}",
        "FOREBAY_DRAIN_S": "0.5",
        "ANTHROPIC_BASE_URL": model_api.url,
        "ANTHROPIC_API_KEY": "simulated",
    }
    with closing(WorkerProcess("worker", tmp_path, environment)) as worker:
        await worker.ready()
        await chat.send(turn("use tool hang {}"))
        await until((tmp_path / "hangs").exists)
        assert await asyncio.to_thread(worker.stop, 20.0) == 0
