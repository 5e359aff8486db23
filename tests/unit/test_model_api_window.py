"""The sliding window behind the quota: exact, and truthful about when there is room."""

import math

from hypothesis import given
from hypothesis import strategies as st

from forebay.rehearsal.model_api.limits.provider_gate import Exceeded, over_quota
from forebay.rehearsal.model_api.limits.provider_limits import Limit, Limits
from forebay.rehearsal.model_api.limits.sliding_window import SlidingWindow

LENGTH_S = 8.0
# Steps of 1/4 s are exact in binary, so that no rounding blurs the edges of the window.
gaps = st.integers(0, 20).map(lambda quarters: quarters / 4)
calls = st.lists(st.tuples(gaps, st.integers(0, 50)), max_size=40)


@given(calls=calls)
def test_the_peaks_are_those_of_every_window(calls: list[tuple[float, int]]) -> None:
    window, now = SlidingWindow(LENGTH_S), 0.0
    seen: list[tuple[float, int]] = []
    sums: list[tuple[int, int]] = [(0, 0)]
    for gap, tokens in calls:
        now += gap
        window.add(now, tokens)
        seen.append((now, tokens))
        inside = [spent for at, spent in seen if now - LENGTH_S < at]
        sums.append((len(inside), sum(inside)))
        assert (window.calls, window.tokens) == sums[-1]
    assert window.peak_calls == max(count for count, _ in sums)
    assert window.peak_tokens == max(tokens for _, tokens in sums)


@given(calls=calls, most_calls=st.integers(1, 6), most_tokens=st.integers(1, 120))
def test_a_quota_is_never_exceeded_and_its_wait_is_no_longer_than_needed(
    calls: list[tuple[float, int]], most_calls: int, most_tokens: int
) -> None:
    limits = Limits(requests_per_minute=most_calls, tokens_per_minute=most_tokens)
    window, now = SlidingWindow(LENGTH_S), 0.0
    for gap, tokens in calls:
        now += gap
        window.advance(now)
        exceeded = over_quota(limits, window, tokens, now)
        if exceeded is not None and exceeded.wait_s is None:
            assert tokens > most_tokens
            continue
        if exceeded is not None:
            assert exceeded.wait_s is not None
            window.advance(now + exceeded.wait_s - 0.125)
            assert over_quota(limits, window, tokens, now + exceeded.wait_s - 0.125) is not None
            now += exceeded.wait_s
            window.advance(now)
        assert over_quota(limits, window, tokens, now) is None
        window.add(now, tokens)
        assert window.peak_calls <= most_calls
        assert window.peak_tokens <= most_tokens


def test_a_call_counts_until_just_before_the_length_of_the_window() -> None:
    window = SlidingWindow(60.0)
    window.add(100.0, 7)
    window.advance(159.75)
    assert (window.calls, window.tokens) == (1, 7)
    window.advance(160.0)
    assert (window.calls, window.tokens) == (0, 0)


def test_the_longer_wait_names_the_limit() -> None:
    window = SlidingWindow(60.0)
    window.add(0.0, 10)
    window.add(20.0, 90)
    assert over_quota(Limits(requests_per_minute=2), window, 1, 30.0) == Exceeded(Limit.REQUESTS, 30.0)
    assert over_quota(Limits(tokens_per_minute=100), window, 10, 30.0) == Exceeded(Limit.TOKENS, 30.0)
    both = Limits(requests_per_minute=2, tokens_per_minute=100)
    assert over_quota(both, window, 50, 30.0) == Exceeded(Limit.TOKENS, 50.0)
    assert over_quota(Limits(tokens_per_minute=101), window, 1, 30.0) is None


def test_what_never_fits_has_no_wait() -> None:
    window = SlidingWindow(60.0)
    assert window.tokens_fit_in_s(0.0, 101, 100) == math.inf
    assert over_quota(Limits(tokens_per_minute=100), window, 101, 0.0) == Exceeded(Limit.TOKENS, None)


def test_the_window_is_empty_when_its_last_call_is_old() -> None:
    window = SlidingWindow(60.0)
    assert window.empty_in_s(5.0) == 0.0
    window.add(0.0, 1)
    window.add(10.0, 1)
    assert window.empty_in_s(15.0) == 55.0
