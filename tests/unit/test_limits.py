"""Rate limits: never above a limit in any minute, hardly below it, and headers of every form and none."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from datetime import UTC, datetime
from random import Random
from string import printable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forebay.schemas import Usage
from forebay.workers.flow.breaker import BreakerPolicy
from forebay.workers.flow.chain import PATIENCE_S
from forebay.workers.flow.estimate import TokenEstimate
from forebay.workers.flow.limits import WINDOW_S, Quota, QuotaWindow, RateLimit
from forebay.workers.flow.quotas import quotas
from forebay.workers.models import Message, ModelError, Prompt, Trouble

from .test_chain import broken, chain, choice, failing, one, play, scene, turns, upstream

NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)
RESOURCES = ("requests", "tokens", "input-tokens", "output-tokens")


def most_in_a_window(uses: list[tuple[float, float]]) -> float:
    """The most that any `WINDOW_S` held."""
    most = used = 0.0
    recent: deque[tuple[float, float]] = deque()
    for at, amount in sorted(uses):
        recent.append((at, amount))
        used += amount
        while recent[0][0] <= at - WINDOW_S:
            used -= recent.popleft()[1]
        most = max(most, used)
    return most


steps = st.tuples(
    st.sampled_from([0.0, 0.0, 0.01, 0.3, 5.0, 31.0, 59.9]),  # to the next arrival
    st.floats(0.0, 100.0),  # what it is estimated to use
    st.floats(0.0, 1.0),  # which part of that it does
    st.floats(0.0, 70.0),  # how long it takes
    st.none() | st.tuples(st.floats(0, 200), st.none() | st.floats(0, 100)),  # what the header says remains
)


@given(st.lists(steps, max_size=120), st.floats(100.0, 300.0))
@settings(deadline=None)
def test_never_more_than_the_limit_in_any_minute(
    script: list[tuple[float, float, float, float, tuple[float, float | None] | None]], limit: float
) -> None:
    window, now, uses, open_calls = (
        QuotaWindow(limit),
        50_000.0,
        list[tuple[float, float]](),
        list[tuple[float, ...]](),
    )
    for gap, estimate, part, takes_s, told in script:
        now += gap
        at = window.admits_at(estimate, now)
        assert now <= at <= now + WINDOW_S + 0.25 + 1e-6
        for ends_at, slot, difference in sorted(open_calls):
            if ends_at <= at:
                window.settle(slot, difference)
                open_calls.remove((ends_at, slot, difference))
        now = at
        uses.append((now, estimate * part))
        open_calls.append((now + takes_s, window.add(estimate, now), estimate * (part - 1)))
        if told is not None:
            window.correct(Quota(limit, *told), now)
    assert most_in_a_window(uses) <= limit * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize("limit", [3, 50, 1_000, 12_345])
@pytest.mark.parametrize("takes_s", [0.0, 0.3, 20.0])
def test_constant_demand_uses_nearly_all_of_it(limit: int, takes_s: float) -> None:
    window, now, used, began = QuotaWindow(limit), 7.0, 0, 7.0
    ends: deque[tuple[float, float]] = deque()
    while now < began + 20 * WINDOW_S:
        now = max(now, window.admits_at(1.0, now))
        ends.append((now + takes_s, window.add(1.0, now)))
        used += 1
        while ends[0][0] < now:
            window.settle(ends.popleft()[1], 0.0)
    assert used >= 0.95 * limit * (now - began) / WINDOW_S


@pytest.mark.parametrize("provider", ["sliding", "bucket", "minute"])
@pytest.mark.parametrize("limit", [60.0, 6_000.0])
def test_a_providers_word_costs_hardly_any_of_its_quota(provider: str, limit: float) -> None:
    """Its headers are read after each call, whichever way its own minute goes; the first word comes with them."""
    window, now, began, used = QuotaWindow(limit), 30.0, 30.0, 0
    recent, level = deque[float](), limit
    while now < began + 20 * WINDOW_S:
        later = window.admits_at(1.0, now)
        level = min(limit, level + (later - now) * limit / WINDOW_S)
        if provider == "minute" and later // WINDOW_S > now // WINDOW_S:
            recent.clear()
        now = later
        window.add(1.0, now)
        used += 1
        level -= 1
        recent.append(now)
        while provider == "sliding" and recent[0] <= now - WINDOW_S:
            recent.popleft()
        assert level >= -1e-6 if provider == "bucket" else len(recent) <= limit
        remaining = level if provider == "bucket" else limit - len(recent)
        reset = {
            "bucket": (limit - level) / limit * WINDOW_S,
            "sliding": recent[-1] + WINDOW_S - now,
            "minute": WINDOW_S - now % WINDOW_S,
        }[provider]
        window.correct(Quota(limit, remaining, reset), now)
    assert used >= 0.95 * limit * (now - began) / WINDOW_S


def test_a_limit_of_ones_own_is_never_raised_by_a_header() -> None:
    rate = RateLimit({"requests": 10})
    rate.correct({"requests": Quota(1_000_000, 999_999, 60.0)}, 0.0)
    for _ in range(10):
        assert rate.admits_at({"requests": 1.0}, 1.0) == 1.0
        rate.reserve({"requests": 1.0}, 1.0)
    assert rate.admits_at({"requests": 1.0}, 1.0) > WINDOW_S
    rate.correct({"requests": Quota(5, 5, 60.0)}, 100.0)
    for _ in range(5):
        rate.reserve({"requests": 1.0}, 100.0)
    assert rate.admits_at({"requests": 1.0}, 100.0) > 100.0


def test_what_others_use_of_the_same_quota_is_left_to_them() -> None:
    rate = RateLimit()
    assert not rate.limited
    rate.correct(quotas({"x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "60"}), 0.0)
    assert rate.limited
    assert rate.admits_at({"requests": 1.0}, 0.0) == pytest.approx(1.0)
    assert rate.room(0.0) == 0.0


def test_the_scarcest_resource_decides() -> None:
    rate = RateLimit({"requests": 100, "tokens": 1_000})
    reserved = rate.reserve({"requests": 1.0, "tokens": 900.0}, 0.0)
    assert rate.room(0.0) == pytest.approx(0.1)
    assert rate.admits_at({"requests": 1.0, "tokens": 200.0}, 1.0) == pytest.approx(WINDOW_S + 0.25)
    rate.settle(reserved, {"requests": 1.0, "tokens": 300.0})
    assert rate.admits_at({"requests": 1.0, "tokens": 200.0}, 1.0) == 1.0


def test_an_amount_above_the_limit_waits_for_an_empty_window() -> None:
    window = QuotaWindow(100)
    window.add(1.0, 0.0)
    assert window.admits_at(500.0, 1.0) == WINDOW_S + 0.25
    assert window.admits_at(500.0, WINDOW_S + 0.25) == WINDOW_S + 0.25


ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-11T12:00:30Z",
    "anthropic-ratelimit-input-tokens-limit": "30000",
    "anthropic-ratelimit-input-tokens-remaining": "29000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-11T11:59:00+00:00",
    "anthropic-ratelimit-output-tokens-limit": "8000",
    "anthropic-ratelimit-output-tokens-remaining": "7000",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-11T13:00:01.5+01:00",
}


def test_the_headers_of_anthropic() -> None:
    assert quotas(ANTHROPIC, NOON) == {
        "requests": Quota(50, 49, 30),
        "input_tokens": Quota(30_000, 29_000, 0),
        "output_tokens": Quota(8_000, 7_000, 1.5),
    }
    assert quotas({"anthropic-ratelimit-tokens-remaining": "9"}, NOON) == {"tokens": Quota(None, 9, None)}


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("12ms", 0.012), ("1s", 1.0), ("1.5s", 1.5), ("6m0s", 360.0), ("1h2m3.5s", 3_723.5), ("2d", 172_800.0)],
)
def test_the_headers_of_openai(reset: str, seconds: float) -> None:
    said = {
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": reset,
        "x-ratelimit-limit-requests": "60",
    }
    found = quotas(said)
    assert list(found) == ["tokens"]
    assert found["tokens"][:2] == (150_000, 149_984)
    assert found["tokens"].reset_s == pytest.approx(seconds)


values = st.one_of(
    st.text(printable, max_size=12),
    st.sampled_from(["", "-1", "nan", "inf", "1e400", "0x10", "1_0", " 7 ", "0", "1e-320", "1e14", "٣", "1m2", "0s"]),
    st.sampled_from(["9" * 400 + "s", "0ms", "99999d", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"]),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
)
names = [
    form.format(resource, part)
    for resource in RESOURCES
    for part in ("limit", "remaining", "reset")
    for form in ("anthropic-ratelimit-{0}-{1}", "x-ratelimit-{1}-{0}")
]


@given(st.dictionaries(st.sampled_from(names), values, max_size=24), st.floats(0, 2_000))
@example({name: "9" * 400 + "s" if "reset" in name else str(5 * ("limit" in name)) for name in names}, 1.0)
def test_no_header_raises_or_stops_a_key_for_ever(headers: dict[str, str], amount: float) -> None:
    rate, wanted = RateLimit({"requests": 60}), {"requests": 1.0, "input_tokens": amount, "tokens": amount}
    rate.correct(quotas(headers, NOON), 10.0)
    at = rate.admits_at(wanted, 10.0)
    assert 10.0 <= at <= 10.0 + WINDOW_S + 0.25
    assert not math.isnan(rate.room(10.0))
    rate.settle(rate.reserve(wanted, at), {"requests": 1.0})
    assert at <= rate.admits_at(wanted, at) <= at + WINDOW_S + 0.25


@pytest.mark.parametrize("text", ["Is SKU001 in stock? " * 20, "那件蓝色的衣服还有货吗？" * 20])
def test_estimates_come_close_to_what_replies_say(text: str) -> None:
    estimate, prompt, dice = TokenEstimate(), Prompt("Be brief.", (Message("user", text),), 1_024), Random(7)
    before = estimate.of(prompt)
    assert before["requests"] == 1.0
    assert before["tokens"] == before["input_tokens"] + before["output_tokens"]
    for _ in range(200):
        estimate.learn(prompt, Usage(input_tokens=130, cache_read_tokens=20, output_tokens=dice.randint(50, 150)))
    after = estimate.of(prompt)
    assert after["input_tokens"] == pytest.approx(150, rel=0.05)
    assert 90 <= after["output_tokens"] <= 150


@scene
async def test_of_several_keys_the_one_with_most_room_goes_next() -> None:
    (small, _), (large, _) = upstream("a", "#1", {"requests": 4}), upstream("a", "#2", {"requests": 8})
    of = chain([small, large])
    chosen = [(await choice(of))[0] for _ in range(12)]
    assert (chosen.count(small), chosen.count(large)) == (4, 8)
    assert small in chosen[:3]
    assert (await choice(of))[1] >= WINDOW_S


@scene
async def test_what_a_call_used_before_it_failed_stays_counted() -> None:
    """The provider counts a call that broke off; one that it refused it does not."""
    for trouble, counted in ((Trouble.TIMEOUT, True), (Trouble.MALFORMED, True), (Trouble.RATE_LIMITED, False)):
        only, model = upstream(limits={"requests": 2})
        of = chain([only])
        for _ in range(2):
            call = asyncio.create_task(one(of))
            await turns()
            model.calls[0].set_exception(failing(trouble))
            with pytest.raises(ModelError):
                await call
        assert ((await choice(of))[1] > WINDOW_S - 1) is counted, trouble


@pytest.mark.parametrize(("left_s", "waits"), [(PATIENCE_S - 0.5, True), (PATIENCE_S + 1.0, False)])
def test_a_used_up_tier_is_waited_for_only_briefly(left_s: float, waits: bool) -> None:
    async def tested() -> None:
        (first, _), (second, _) = upstream("a", limits={"requests": 2}), upstream("b")
        of = chain([first], [second])
        assert [(await choice(of))[0] for _ in range(2)] == [first, first]
        await asyncio.sleep(WINDOW_S - left_s)
        chosen, waited = await choice(of)
        assert chosen is (first if waits else second)
        assert waited == pytest.approx(left_s if waits else 0.0, abs=0.3)

    play(tested())


@scene
async def test_a_refused_key_spares_and_several_refusals_rest_it() -> None:
    (first, a), (second, _) = upstream("a", "#1", policy=BreakerPolicy()), upstream("a", "#2")
    both, alone = chain([first, second]), chain([first])
    await broken(both, a, Trouble.RATE_LIMITED, times=1)
    assert await choice(both) == (second, 0.0)
    assert await choice(alone) == (first, 0.0)
    await asyncio.sleep(1.0)
    await broken(alone, a, Trouble.RATE_LIMITED, times=2)
    assert await choice(alone) == (first, 1.0)
