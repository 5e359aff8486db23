"""The chain: order in line, calls that never leak, tiers that are passed over, keys that rest. Its clock jumps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Set
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from forebay.schemas import Usage
from forebay.workers.flow.breaker import BreakerPolicy
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.concurrency import AdaptiveLimit
from forebay.workers.flow.upstream import Call, Upstream
from forebay.workers.models import CatalogueModel, Completion, Message, ModelError, OnText, Prompt, Trouble

PROMPT = Prompt("Be brief.", (Message("user", "hi"),), 100)
LONG = Prompt("Be brief.", (Message("user", "x" * 36_000),), 100)
POLICY = BreakerPolicy(failures=3, open_s=30.0)
SENSITIVE = BreakerPolicy(failures=1)
NONE: Set[Upstream] = frozenset()
LIMITS = {"requests": 5.0, "input_tokens": 10_500.0}
Result = TypeVar("Result")


class _Jumping(selectors.SelectSelector):
    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for ever"
        self.now += timeout
        return super().select(0)


class Hurried(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when nothing else is left to do."""

    def __init__(self) -> None:
        self.clock = _Jumping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def play(scene: Coroutine[Any, Any, Result]) -> Result:
    """Runs a scene on a clock that jumps; fails when it can never end."""
    loop = Hurried()
    try:
        return loop.run_until_complete(asyncio.wait_for(scene, 100_000))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()


class Fake:
    """A model whose calls the test resolves."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.calls: list[asyncio.Future[Completion]] = []
        self.heard: list[Prompt] = []

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        reply: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self.heard.append(prompt)
        self.calls.append(reply)
        try:
            return await reply
        finally:
            self.calls.remove(reply)


def completion(**headers: str) -> Completion:
    return Completion("fine", "end_turn", Usage(input_tokens=10, output_tokens=5), headers=headers)


def failing(trouble: Trouble, **headers: str) -> ModelError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ModelError(f"no: {trouble}", trouble, headers=named)


def upstream(
    name: str = "fake", key: str = "", limits: dict[str, float] | None = None, policy: BreakerPolicy = POLICY
) -> tuple[Upstream, Fake]:
    model = Fake(name)
    return Upstream(model, CatalogueModel(provider="anthropic"), key, policy, limits), model


def chain(*tiers: list[Upstream]) -> Chain:
    return Chain(tiers, AdaptiveLimit(50))


async def one(of: Chain, avoided: Set[Upstream] = NONE, wait_s: float = 10_000.0, prompt: Prompt = PROMPT) -> Upstream:
    until = asyncio.get_running_loop().time() + wait_s
    chosen, call = await of.admitted(prompt, avoided, until)
    await of.call(chosen, call, prompt, None)
    return chosen


async def turns() -> None:
    """Lets everything happen that needs no time."""
    for _ in range(10):
        await asyncio.sleep(0)


async def choice(of: Chain, prompt: Prompt = PROMPT) -> tuple[Upstream, float]:
    """Who is called next, and after how many seconds. The call stays under way."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    chosen, _ = await of.admitted(prompt, NONE, began + 10_000)
    return chosen, loop.time() - began


async def broken(of: Chain, model: Fake, trouble: Trouble = Trouble.SERVER, times: int = POLICY.failures) -> None:
    for _ in range(times):
        call = asyncio.create_task(one(of))
        await turns()
        model.calls[0].set_exception(failing(trouble))
        with pytest.raises(ModelError):
            await call


def scene(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that plays on the clock that jumps."""

    def run() -> None:
        play(test())

    return run


steps = st.sampled_from(
    [
        *[("arrive", wait_s, "") for wait_s in (0.0, 40.0, 9_000.0, 9_000.0)],
        *[("arrive", 9_000.0, how) for how in ("avoiding", "long")],
        *[("tick", 0, None)] * 4,
        *[("answer", number, None) for number in (0, 1, 5)],
        *[("fail", 0, trouble) for trouble in (*Trouble, Trouble.SERVER, Trouble.SERVER)],
        *[("crash", 0, None)],
        *[("cancel", number, None) for number in (0, 0, 1, 2, 9)],
        *[("wait", seconds, None) for seconds in (0.0, 0.5, 30.0, 30.0, 61.0)],
    ]
)


class Script:
    """Plays every mixture of arrivals, ends and cancellations, also several in one tick."""

    def __init__(self, upstreams: int) -> None:
        made = [upstream(name, limits=LIMITS, policy=SENSITIVE) for name in "abc"[:upstreams]]
        self.chain, self.models = chain(*([each] for each, _ in made)), [model for _, model in made]
        self.first = made[0][0]
        self.loop = asyncio.get_running_loop()
        self.tasks, self.order = list[asyncio.Task[None]](), list[str]()
        for each, _ in made:
            each.begin = partial(self.begun, each.begin)  # type: ignore[method-assign]

    @property
    def calls(self) -> list[asyncio.Future[Completion]]:
        return [call for model in self.models for call in model.calls if not call.done()]

    async def turn(self, number: int, wait_s: float, how: str) -> None:
        prompt = replace(LONG if how == "long" else PROMPT, system=f"{number:03}")
        avoided = {self.first} if how == "avoiding" else NONE
        chosen, call = await self.chain.admitted(prompt, avoided, self.loop.time() + wait_s)
        await self.chain.call(chosen, call, prompt, None)

    def begun(self, begin: Callable[[Prompt, float], Call], prompt: Prompt, now: float) -> Call:
        self.order.append(prompt.system)
        return begin(prompt, now)

    async def play(self, script: list[tuple[str, Any, Any]]) -> None:
        for step, number, how in script:
            if step == "arrive":
                self.tasks.append(asyncio.create_task(self.turn(len(self.tasks), number, how)))
            elif step == "tick":
                await asyncio.sleep(0)
            elif step == "wait":
                await asyncio.sleep(number)
                await turns()
                assert self.chain.in_flight == sum(len(model.calls) for model in self.models)
            elif step == "cancel":
                for task in [task for task in self.tasks if not task.done()][number : number + 1]:
                    task.cancel()
            elif calls := self.calls:
                self.end(calls[number % len(calls)], step, how)
        await self.finish()

    def end(self, call: asyncio.Future[Completion], step: str, how: Any) -> None:
        if step == "answer":
            call.set_result(completion())
        else:
            call.set_exception(failing(how) if step == "fail" else RuntimeError("a mistake of ours"))

    async def finish(self) -> None:
        """From now on every call is answered: so every turn ends, and nothing is left."""
        while any(not task.done() for task in self.tasks):
            for call in self.calls:
                call.set_result(completion())
            await asyncio.sleep(1.0)
        assert self.order == sorted(self.order)
        assert self.chain.in_flight == 0
        later = self.loop.time() + POLICY.open_s
        assert all(member.breaker.admits_at(later) == later for member in self.chain.upstreams)
        await asyncio.gather(*self.tasks, return_exceptions=True)


@given(st.integers(1, 3), st.lists(steps, min_size=40, max_size=120))
@settings(max_examples=400, deadline=None)
@pytest.mark.takes(1)
def test_whatever_happens_nobody_waits_for_ever_and_nothing_leaks(
    upstreams: int, script: list[tuple[str, Any, Any]]
) -> None:
    async def tested() -> None:
        await Script(upstreams).play(script)

    play(tested())


@scene
async def test_a_call_given_to_one_who_gave_up_is_given_on() -> None:
    only, model = upstream()
    of = chain([only])
    await broken(of, model)
    waiting = [asyncio.create_task(one(of)) for _ in range(3)]
    await asyncio.sleep(POLICY.open_s)
    await turns()
    assert len(model.calls) == 1
    model.calls[0].set_result(completion())
    await asyncio.sleep(0)  # the others are admitted in this tick, and one of them leaves in the next
    waiting[1].cancel()
    await turns()
    for call in model.calls:
        call.set_result(completion())
    await asyncio.gather(*waiting, return_exceptions=True)
    assert of.in_flight == 0
    assert [task.cancelled() for task in waiting] == [False, True, False]


@scene
async def test_who_gives_up_at_the_front_holds_up_nobody() -> None:
    only, model = upstream(limits={"input_tokens": 10_000})
    of = chain([only])
    for _ in range(2):
        await of.admitted(Prompt("", (Message("user", "x" * 16_000),), 1), NONE, 0)
    front = asyncio.create_task(one(of, prompt=LONG))
    await turns()
    behind = asyncio.create_task(one(of))
    await turns()
    assert not model.calls
    front.cancel()
    await turns()
    assert len(model.calls) == 1
    model.calls[0].set_result(completion())
    await behind


@scene
async def test_a_cancelled_probe_lets_the_next_one_try() -> None:
    only, model = upstream()
    of = chain([only])
    await broken(of, model)
    probe, behind = (asyncio.create_task(one(of)) for _ in range(2))
    await asyncio.sleep(POLICY.open_s + 1)
    assert len(model.calls) == 1
    probe.cancel()
    await turns()
    assert len(model.calls) == 1
    model.calls[0].set_result(completion())
    assert await behind is only


@scene
async def test_an_open_tier_is_passed_over_at_once_and_used_again() -> None:
    (first, a), (second, _) = upstream("a"), upstream("b")
    of = chain([first], [second])
    await broken(of, a)
    for passed in (0.0, 10.0, 18.5):  # also shortly before it is tried again
        await asyncio.sleep(passed)
        assert await choice(of) == (second, 0.0)
    await asyncio.sleep(POLICY.open_s)
    probe = asyncio.create_task(one(of))
    await turns()
    assert len(a.calls) == 1
    assert await choice(of) == (second, 0.0)  # while one tries, the others do not wait for it
    with capture_logs() as logs:
        a.calls[0].set_result(completion())
        await probe
    assert [line["event"] for line in logs] == ["breaker.closed"]
    assert await choice(of) == (first, 0.0)
