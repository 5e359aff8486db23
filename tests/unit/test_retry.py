"""Retries: what is tried again, where, when, how often; and that meanwhile the permit is another's."""

from __future__ import annotations

import asyncio
import re
from random import Random
from string import printable
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from forebay.schemas import Reason, Turn, Usage
from forebay.workers.answering.model_call import ModelCall, ModelCalls
from forebay.workers.answering.turn_context import Effort, Expired, GaveUp, TurnContext
from forebay.workers.engine.lanes import Lanes
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.turn_group import TurnGroup
from forebay.workers.flow.breaker import BreakerPolicy
from forebay.workers.flow.budget import Budget, Ceilings
from forebay.workers.flow.chain import Chain
from forebay.workers.flow.hedge import Hedge
from forebay.workers.flow.retry import Circumstances, RetryPolicy, Tries
from forebay.workers.flow.upstream import Upstream
from forebay.workers.models import RETRYABLE, Completion, Message, ModelError, OnText, Prompt, Trouble
from forebay.workers.models.model import retry_after_s, trouble_of

from .test_chain import PROMPT, Fake, chain, failing, play, turns, upstream

POLICY = RetryPolicy()
ROLES: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
LOOSE = BreakerPolicy(failures=1_000)
ALONE = Circumstances(left_s=1e6, retry_after_s=None, others=False, fails_others=False)
DATE = re.compile(r"\w{3}, \d{1,2} Nov \d{1,12} \d\d:\d\d:\d\d [+-]?\w{1,12}", re.ASCII)
uniforms = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        *((408, "timeout"), (409, "server"), (429, "rate_limited"), (500, "server"), (502, "server")),
        *((503, "overloaded"), (504, "server"), (529, "overloaded")),
    ],
)
def test_what_is_tried_again(status: int, trouble: str) -> None:
    assert trouble_of(status, "") == trouble
    assert POLICY.after(Trouble(trouble), Tries(1), ALONE, 0.5).step == "again"
    assert POLICY.after(Trouble.CONNECTION, Tries(1), ALONE, 0.5).step == "again"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
@pytest.mark.parametrize("failures", [1, 5])
def test_what_is_not(status: int, failures: int) -> None:
    assert POLICY.after(trouble_of(status, "no"), Tries(failures), ALONE, 0.5).step == "give_up"
    assert POLICY.after(Trouble.SPENDING_LIMIT, Tries(failures), ALONE, 0.5).step == "give_up"


@pytest.mark.parametrize("trouble", [Trouble.CREDENTIALS, Trouble.SPENDING_LIMIT])
def test_a_key_that_is_refused_leaves_the_others(trouble: Trouble) -> None:
    assert POLICY.after(trouble, Tries(1), ALONE._replace(others=True), 0.5) == ("elsewhere", 0.0)


@pytest.mark.parametrize("message", ["prompt is too long: 9 tokens > 8 maximum", "maximum context length is 8 tokens"])
def test_a_long_prompt_is_trimmed_and_tried_once_more(message: str) -> None:
    trouble = trouble_of(400, message)
    assert POLICY.after(trouble, Tries(1), ALONE, 0.5) == ("shorter", 0.0)
    assert POLICY.after(trouble, Tries(2, shortened=True), ALONE, 0.5).step == "give_up"
    assert POLICY.after(trouble, Tries(2, shortened=True), ALONE._replace(others=True), 0.5).step == "elsewhere"


@given(st.integers(1, 10_000), uniforms)
def test_full_jitter_below_a_cap(failures: int, uniform: float) -> None:
    policy = RetryPolicy(attempts=20_000)
    most = min(policy.cap_s, policy.base_s * 2.0 ** min(failures - 1, 60))
    step, delay = policy.after(Trouble.SERVER, Tries(failures), ALONE, uniform)
    assert step == "again"
    assert delay == pytest.approx(uniform * most)


@given(st.floats(0, 1e9) | st.just(float("inf")), uniforms)
def test_what_a_provider_asks_for_is_obeyed_up_to_a_cap(asked: float, uniform: float) -> None:
    _, delay = POLICY.after(Trouble.RATE_LIMITED, Tries(1), ALONE._replace(retry_after_s=asked), uniform)
    assert min(asked, 60.0) <= delay <= min(asked, 60.0) + POLICY.base_s


@given(st.text(printable, max_size=30) | st.from_regex(DATE, fullmatch=True))
def test_no_retry_after_raises(value: str) -> None:
    for header in ("retry-after", "retry-after-ms"):
        seconds = retry_after_s({header: value})
        assert seconds is None or seconds >= 0


@given(
    st.sampled_from([*Trouble]),
    st.integers(1, 12),
    st.floats(0, 200),
    st.none() | st.floats(0, 200),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    uniforms,
)
def test_bounded_by_attempts_and_by_the_deadline(
    trouble: Trouble, failures: int, left: float, asked: float | None, flags: tuple[bool, bool, bool], uniform: float
) -> None:
    others, fails_others, shortened = flags
    now = Circumstances(left, asked, others, fails_others)
    step, delay = POLICY.after(trouble, Tries(failures, 1, shortened), now, uniform)
    assert delay == 0.0 or (step == "again" and trouble in RETRYABLE)
    assert delay < max(left, 1e-9)
    if failures >= POLICY.attempts and trouble in RETRYABLE and not fails_others and trouble != Trouble.CONNECTION:
        assert step == "give_up"


class Scene:
    """One worker's model calls, with permits, on the clock that jumps."""

    def __init__(self, of: Chain, patch: pytest.MonkeyPatch, permits: int = 1, *, hedge: Hedge | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        patch.setattr("forebay.workers.answering.model_call.random", Random(7))
        patch.setattr(
            "forebay.workers.answering.model_call.time",
            SimpleNamespace(**dict.fromkeys(("time", "perf_counter", "monotonic"), self.loop.time)),
        )
        self.calls, self.lanes = ModelCalls(of, Budget(Ceilings()), POLICY, hedge), Lanes[str](permits)
        self.permits = dict[str, Permit]()

    def take(self) -> None:
        while (lane := self.lanes.take()) is not None:
            self.permits[lane].granted()

    def ask(self, lane: str, ttl_s: float = 120.0, prompt: Prompt = PROMPT) -> asyncio.Task[Completion]:
        self.permits[lane] = permit = Permit(self.lanes, lane, self.take)
        self.lanes.offer(lane, lane, self.loop.time())
        assert self.lanes.take() == lane
        turn = Turn(turn_id=lane, conversation_id=lane, text="hi")
        context = TurnContext(turn, TurnGroup((), permit), Effort(0, 0.0), self.loop.time() + ttl_s)
        return self.loop.create_task(self.calls.completion(ModelCall(context, prompt)))


async def gave_up(task: asyncio.Task[Completion]) -> GaveUp:
    with pytest.raises(GaveUp) as raised:
        await task
    return raised.value


def test_a_retry_that_sleeps_leaves_its_permit_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tested() -> None:
        only, model = upstream(policy=LOOSE)
        scene = Scene(chain([only]), monkeypatch)
        first = scene.ask("first")
        await turns()
        model.calls[0].set_exception(failing(Trouble.RATE_LIMITED, retry_after="7"))
        await turns()
        assert scene.lanes.in_flight == 0
        began = scene.loop.time()
        second = scene.ask("second")
        await turns()
        model.calls[0].set_result(Completion("fine", "end_turn", Usage()))
        assert (await second).text == "fine"
        scene.permits["second"].give_back()
        while not model.calls:
            await asyncio.sleep(0.1)
        assert 7.0 <= scene.loop.time() - began <= 7.0 + POLICY.base_s + 0.2
        assert scene.lanes.in_flight == 1
        model.calls[0].set_result(Completion("fine", "end_turn", Usage()))
        await first

    play(tested())


class Answers(Fake):
    """A model that does what a function of the call's number and prompt says."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    async def complete(self, prompt: Prompt, on_text: OnText | None = None) -> Completion:
        self.heard.append(prompt)
        await asyncio.sleep(0.1)
        error = self._answer(len(self.heard), prompt)
        if error is not None:
            raise error
        return Completion("fine", "end_turn", Usage())


def served(answer: Any) -> tuple[Chain, Answers]:
    only, _ = upstream(policy=LOOSE)
    model = Answers(answer)
    return chain([Upstream(model, only.known, policy=LOOSE)]), model


@pytest.mark.parametrize("ttl_s", [3.0, 30.0, 1_000.0])
def test_attempts_and_time_end(ttl_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    async def tested() -> None:
        of, model = served(lambda *_: failing(Trouble.SERVER))
        scene = Scene(of, monkeypatch)
        began = scene.loop.time()
        error = await gave_up(scene.ask("a", ttl_s))
        assert error.failure.reason is Reason.RETRIES_EXHAUSTED
        assert error.failure.attempts == len(model.heard) <= POLICY.attempts
        assert scene.loop.time() - began <= ttl_s
        assert of.in_flight == 0

    play(tested())


def test_an_outage_ends_only_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tested() -> None:
        of, model = served(lambda number, _: failing(Trouble.CONNECTION) if number <= 12 else None)
        assert (await Scene(of, monkeypatch).ask("a", 600.0)).text == "fine"
        assert len(model.heard) == 13

    play(tested())


def test_who_waits_in_line_expires_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tested() -> None:
        only, _ = upstream(limits={"requests": 1})
        of = chain([only])
        await of.admitted(PROMPT, frozenset(), 0)
        scene = Scene(of, monkeypatch)
        began = scene.loop.time()
        with pytest.raises(Expired):
            await scene.ask("a", 5.0)
        assert scene.loop.time() - began == pytest.approx(5.0)

    play(tested())


@pytest.mark.parametrize(("answers", "words"), [(10, 60), (10, 400), (3, 200), (1, 900)])
def test_what_trimming_can_save_is_saved(answers: int, words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of 1,000 characters: the question alone always fits."""
    said = [Message(role, "x" * words) for _ in range(answers) for role in ROLES]
    prompt = Prompt("", (*said, Message("user", "x" * 300)), 100)

    def answer(_: int, prompt: Prompt) -> ModelError | None:
        assert prompt.messages[0].role == "user"
        return failing(Trouble.CONTEXT) if sum(len(message.text) for message in prompt.messages) > 1_000 else None

    async def tested() -> None:
        of, model = served(answer)
        assert (await Scene(of, monkeypatch).ask("a", prompt=prompt)).text == "fine"
        assert 2 <= len(model.heard) <= 4

    play(tested())


def test_a_failed_call_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def tested() -> None:
        of, _ = served(lambda number, _: failing(Trouble.SERVER) if number == 1 else failing(Trouble.REJECTED))
        with capture_logs() as logs:
            error = await gave_up(Scene(of, monkeypatch).ask("a"))
        assert (error.failure.reason, error.failure.attempts) == (Reason.REJECTED_BY_MODEL, 2)
        assert [(line["event"], line["next"]) for line in logs] == [("turn.retry", "again"), ("turn.failed", "give_up")]

    play(tested())


@pytest.mark.parametrize("a_second", [1, 20])
@pytest.mark.parametrize("status", [503, 500])
def test_an_outage_fills_no_dead_letters(a_second: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It worked, then it answers nobody for a minute, then it works again; turns come all the while."""

    async def tested() -> None:
        loop = asyncio.get_running_loop()
        down = (loop.time() + 10.0, loop.time() + 70.0)

        def answer(*_: Any) -> ModelError | None:
            return failing(trouble_of(status, "")) if down[0] <= loop.time() < down[1] else None

        model = Answers(answer)
        of = chain([Upstream(model, upstream()[0].known)])
        scene, asked = Scene(of, monkeypatch, permits=10_000), list[asyncio.Task[Completion]]()
        while loop.time() < down[1]:
            asked.append(scene.ask(str(len(asked)), ttl_s=300.0))
            await asyncio.sleep(1 / a_second)
        ends = await asyncio.gather(*asked, return_exceptions=True)
        assert not [end for end in ends if isinstance(end, BaseException)]
        assert of.in_flight == 0

    play(tested())
