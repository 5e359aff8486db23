"""The breaker: when it opens, that one call at a time tries again, and that no ticket keeps it from closing."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from structlog.testing import capture_logs

from forebay.workers.flow.breaker import Breaker, BreakerPolicy
from forebay.workers.flow.hedge import Hedge
from forebay.workers.models import ModelError, Trouble

from .test_chain import PROMPT, broken, chain, choice, completion, failing, one, play, scene, turns, upstream
from .test_retry import Scene

POLICY = BreakerPolicy(failures=5, share=0.5, window_s=30.0, least_calls=8, open_s=30.0)


class BreakerAgainstAModel(RuleBasedStateMachine):
    """Every mixture of calls that begin, succeed, fail, are refused or dropped, in any order."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(POLICY)
        self.now = 0.0
        self.era = 0
        self.open_until: float | None = None
        self.trying: int | None = None
        self.begun = 0
        self.ended: list[tuple[float, str]] = []

    @rule(seconds=st.sampled_from([0.0, 0.1, 5.0, 29.9, 30.0, 30.1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls)
    def begin(self) -> tuple[int, int, int]:
        at = self.breaker.admits_at(self.now)
        if at > self.now:
            assert self.open_until is not None
            assert at == (math.inf if self.trying is not None else self.open_until)
            return (0, -1, -1)
        assert self.open_until is None or (self.now >= self.open_until and self.trying is None)
        self.begun += 1
        if self.open_until is not None:
            self.trying = self.begun
        return (self.breaker.admit(self.now), self.era, self.begun)

    @rule(call=consumes(calls))
    def succeed(self, call: tuple[int, int, int]) -> None:
        ticket, era, _ = call
        self.breaker.succeeded(ticket, self.now)
        if era == self.era:
            self.ended.append((self.now, "answered"))
            if self.open_until is not None:
                self.change(None)

    @rule(call=consumes(calls), how=st.sampled_from(["failed", "refused"]))
    def fail(self, call: tuple[int, int, int], how: str) -> None:
        ticket, era, _ = call
        opened = self.breaker.failed(ticket, self.now, counts_in_share=how == "failed")
        if era != self.era:
            assert not opened
            return
        self.ended.append((self.now, how))
        assert opened == self.ought_to_open()
        if opened:
            assert self.breaker.reason
            self.change(self.now + POLICY.open_s)

    @rule(call=consumes(calls))
    def drop(self, call: tuple[int, int, int]) -> None:
        ticket, _, number = call
        self.breaker.dropped(ticket)
        if number == self.trying:
            self.trying = None

    @rule()
    def trip(self) -> None:
        self.breaker.trip(self.now, "the key is refused")
        self.change(self.now + POLICY.open_s)

    def ought_to_open(self) -> bool:
        if self.open_until is not None:
            return True
        tail = [how for _, how in self.ended[-POLICY.failures :]]
        if len(tail) == POLICY.failures and "answered" not in tail:
            return True
        recent = [how for at, how in self.ended if at >= self.now - POLICY.window_s and how != "refused"]
        return len(recent) >= POLICY.least_calls and recent.count("failed") > POLICY.share * len(recent)

    def change(self, open_until: float | None) -> None:
        self.era += 1
        self.open_until, self.trying = open_until, None
        self.ended.clear()

    @invariant()
    def state_is_told(self) -> None:
        told = self.breaker.state(self.now)
        if self.open_until is None:
            assert told == "closed"
        else:
            assert told == ("open" if self.now < self.open_until else "half_open")


TestBreaker = BreakerAgainstAModel.TestCase
TestBreaker.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def ended(breaker: Breaker, outcomes: str, now: float = 0.0, gap_s: float = 0.0) -> list[bool]:
    """Plays ``f`` for a failure, ``r`` for a refusal, ``.`` for an answer; which of them opened it."""
    opened = []
    for outcome in outcomes:
        ticket = breaker.admit(now)
        if outcome == ".":
            breaker.succeeded(ticket, now)
            opened.append(False)
        else:
            opened.append(breaker.failed(ticket, now, counts_in_share=outcome == "f"))
        now += gap_s
    return opened


def test_the_defaults() -> None:
    assert BreakerPolicy() == BreakerPolicy(failures=10, share=0.5, window_s=30.0, least_calls=20, open_s=30.0)


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ("ffff", False),
        ("fffff", True),
        ("rrrrr", True),
        ("frfrf", True),
        ("ffff.ffff", True),  # 8 of 9
        ("ffff.fff", True),  # 7 of 8
        ("ffff...", False),  # only 7
        (".f.f.f.f.f.f", False),  # half is not more than half
        (".f.f.f.f.ff", True),
        (".r.r.r.r.rr", False),  # refusals count only in a row
    ],
)
def test_when_it_opens(outcomes: str, opens: bool) -> None:
    assert any(ended(Breaker(POLICY), outcomes)) is opens


def test_what_is_older_than_the_window_is_forgotten() -> None:
    breaker = Breaker(POLICY)
    assert not any(ended(breaker, "fff.ff.", 0.0))
    assert not any(ended(breaker, "fff.", 30.1))
    assert any(ended(breaker, "ffff", 31.0))


def test_half_open_one_call_tries_and_its_end_decides() -> None:
    breaker = Breaker(POLICY)
    ended(breaker, "fffff", 100.0)
    assert breaker.state(129.9) == "open"
    assert breaker.admits_at(100.0) == 130.0
    assert breaker.admits_at(130.0) == 130.0
    first = breaker.admit(130.0)
    assert breaker.admits_at(131.0) == math.inf
    assert breaker.failed(first, 131.0)
    assert breaker.admits_at(131.0) == 161.0
    second = breaker.admit(161.0)
    breaker.succeeded(second, 162.0)
    assert breaker.state(162.0) == "closed"
    assert breaker.failures_in_row == 0
    assert not any(ended(breaker, "ffff", 163.0))


def test_late_ends_of_earlier_calls_decide_nothing() -> None:
    breaker = Breaker(POLICY)
    late = [breaker.admit(0.0) for _ in range(20)]
    ended(breaker, "fffff", 1.0)
    for ticket in late[:10]:
        assert not breaker.failed(ticket, 20.0)
    assert breaker.admits_at(20.0) == 31.0
    probe = breaker.admit(31.0)
    breaker.succeeded(late[10], 32.0)
    breaker.dropped(late[11])
    assert breaker.admits_at(32.0) == math.inf
    breaker.succeeded(probe, 33.0)
    for ticket in late[12:]:
        assert not breaker.failed(ticket, 34.0)
    assert breaker.state(34.0) == "closed"


@given(st.text("fr.", max_size=200), st.floats(0, 10))
def test_it_always_comes_back(outcomes: str, gap_s: float) -> None:
    """Wherever failures left it, one answered call after the pause closes it."""
    breaker, now = Breaker(POLICY), 0.0
    for outcome in outcomes:
        now = max(now + gap_s, breaker.admits_at(now))
        assert now < math.inf
        ended(breaker, outcome, now)
    now = breaker.admits_at(now)
    breaker.succeeded(breaker.admit(now), now)
    assert breaker.state(now) == "closed"


@scene
async def test_a_provider_that_is_full_is_not_down() -> None:
    """A burst meets less room than it has calls: what was let in is answered, and calls go on at once."""
    only, model = upstream(policy=BreakerPolicy())
    of = chain([only])
    burst = [asyncio.create_task(one(of)) for _ in range(50)]
    await turns()
    for call in model.calls[30:]:
        call.set_exception(failing(Trouble.OVERLOADED))
    await asyncio.sleep(0.3)
    for call in model.calls[:30]:
        call.set_result(completion())
    await asyncio.gather(*burst, return_exceptions=True)
    assert only.breaker.state(asyncio.get_running_loop().time()) == "closed"
    assert 25 <= of.limit <= 30
    assert (await choice(of))[1] <= 1.0


@pytest.mark.parametrize("trouble", [Trouble.CREDENTIALS, Trouble.SPENDING_LIMIT])
def test_a_refused_key_is_told_once_and_left_alone(trouble: Trouble) -> None:
    async def tested() -> None:
        (first, a), (second, _) = upstream("a", "#1"), upstream("a", "#2")
        of = chain([first, second])
        calls = [await of.admitted(PROMPT, {second}, 0) for _ in range(20)]
        asking = [asyncio.create_task(of.call(*call, PROMPT, None)) for call in calls]
        await turns()
        with capture_logs() as logs:
            for call in list(a.calls):
                call.set_exception(failing(trouble))
            await asyncio.gather(*asking, return_exceptions=True)
        opened = [line for line in logs if line["event"] == "breaker.open"]
        assert {line["log_level"] for line in opened} == {"error"}
        assert {line["upstream"] for line in opened} == {first.name}
        assert all(line["reason"] and line["fix"] for line in opened)
        assert (await choice(of)) == (second, 0.0)
        assert len(opened) == 1

    play(tested())


@pytest.mark.parametrize("value", ["soon", "Wed, 11 Nov 99999999999 00:00:00 GMT", "1e999", "\x00"])
@pytest.mark.parametrize("header", ["retry_after", "anthropic_ratelimit_requests_reset"])
def test_a_garbage_header_leaks_no_probe(header: str, value: str) -> None:
    async def tested() -> None:
        only, model = upstream()
        of = chain([only])
        await broken(of, model)
        probe = asyncio.create_task(one(of))
        await asyncio.sleep(31.0)
        headers = {"anthropic_ratelimit_requests_remaining": "0", header: value}
        model.calls[0].set_exception(failing(Trouble.RATE_LIMITED, **headers))
        with pytest.raises(ModelError):
            await probe
        _, waited = await choice(of)
        assert waited <= 90.0

    play(tested())


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("ticks", range(5))
def test_a_turn_cancelled_as_its_call_begins_leaks_no_probe(
    ticks: int, hedged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tested() -> None:
        only, model = upstream()
        of, hedge = chain([only]), Hedge(0.05 if hedged else 0.0)
        for _ in range(100):
            hedge.took(1.0)
        await broken(of, model)
        await asyncio.sleep(30.0)
        asking = Scene(of, monkeypatch, hedge=hedge).ask("a")
        for _ in range(ticks):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await turns()
        assert of.in_flight == 0
        assert (await choice(of))[1] == 0.0

    play(tested())
