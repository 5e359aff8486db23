"""What the simulated provider lets in, and what it tells about it."""

import pytest

from forebay.rehearsal.model_api import Limits, ModelApi, ModelApiError, ModelApiSettings, Outage
from forebay.rehearsal.model_api.limits.provider_gate import MAX_KEYS, Exceeded, ProviderGate, api_key
from forebay.rehearsal.model_api.limits.provider_limits import Limit
from forebay.rehearsal.model_api.limits.rate_headers import (
    INPUT_TOKENS_PER_MINUTE,
    REQUESTS_PER_MINUTE,
    Metered,
)
from forebay.rehearsal.model_api.limits.sliding_window import SlidingWindow
from forebay.rehearsal.model_api.stats import key_name


def enter(admission: ProviderGate, tokens: int = 10, now: float = 0.0, key: bytes = b"k") -> Exceeded | None:
    """Let a call in unless a limit keeps it out; what keeps it out."""
    account = admission.account("anthropic", key)
    exceeded = admission.exceeded(account, tokens, now)
    if exceeded is None:
        admission.spend(account, tokens, now)
        admission.enter(account)
    return exceeded


def test_without_limits_everything_comes_in_and_no_window_is_kept() -> None:
    admission = ProviderGate(Limits())
    assert [enter(admission) for _ in range(3)] == [None] * 3
    assert (admission.accepted, admission.working, admission.peak_working) == (3, 3, 3)
    assert admission.rates(admission.account("anthropic", b"k")) is None
    shown = admission.keys(0.0)["anthropic"]["k"]
    assert (shown.accepted, shown.window_requests, shown.window_tokens) == (3, 0, 0)


def test_calls_at_once_are_limited() -> None:
    admission = ProviderGate(Limits(max_in_flight=2, retry_after_s=3.0))
    refused = Exceeded(Limit.IN_FLIGHT, 3.0)
    assert [enter(admission) for _ in range(4)] == [None, None, refused, refused]
    admission.leave()
    assert enter(admission) is None
    assert (admission.accepted, admission.working, admission.peak_working) == (3, 2, 2)


def test_each_key_of_each_vendor_has_its_own_quota() -> None:
    admission = ProviderGate(Limits(requests_per_minute=1))
    assert enter(admission, key=b"a") is None
    assert enter(admission, key=b"a") == Exceeded(Limit.REQUESTS, 60.0)
    assert enter(admission, key=b"b") is None
    assert admission.exceeded(admission.account("openai", b"a"), 1, 0.0) is None


def test_a_quota_that_is_only_observed_lets_everything_in_and_counts_it() -> None:
    admission = ProviderGate(Limits(tokens_per_minute=15, enforce=False))
    assert [enter(admission) for _ in range(3)] == [None] * 3
    enter(admission, now=60.0)
    shown = admission.keys(60.0)["anthropic"]["k"]
    assert (shown.window_tokens, shown.peak_window_tokens, shown.peak_window_requests) == (10, 30, 3)


def test_peaks_start_again_with_the_limit_they_belong_to() -> None:
    admission = ProviderGate(Limits(max_in_flight=9, tokens_per_minute=100))
    for _ in range(3):
        enter(admission)
    admission.change({"tokens_per_minute": 50, "max_in_flight": 8})
    shown = admission.keys(0.0)["anthropic"]["k"]
    assert (admission.peak_working, shown.window_tokens, shown.peak_window_tokens) == (0, 30, 0)
    enter(admission)
    assert admission.keys(0.0)["anthropic"]["k"].peak_window_tokens == 40
    assert admission.peak_working == 4
    admission.change({"window_s": 1.0})
    assert admission.keys(0.0)["anthropic"]["k"].window_tokens == 0


def test_limits_change_by_field_and_go_back() -> None:
    admission = ProviderGate(Limits(max_in_flight=2))
    admission.change({"requests_per_minute": 5, "outage": True})
    assert admission.limits == Limits(max_in_flight=2, requests_per_minute=5, outage=Outage.REFUSE)
    admission.reset()
    assert admission.limits == Limits(max_in_flight=2)


def test_held_calls_go_on_in_order_when_nothing_hangs_any_more() -> None:
    admission = ProviderGate(Limits(outage=Outage.HANG))
    released: list[int] = []
    holds = [lambda number=number: released.append(number) for number in range(3)]
    for hold in holds:
        admission.hold(hold)
    admission.drop(holds[1])
    admission.change({"max_in_flight": 1})
    assert released == []
    admission.change({"outage": "refuse"})
    assert released == [0, 2]


def test_the_keys_counted_are_bounded() -> None:
    admission = ProviderGate(Limits())
    for number in range(MAX_KEYS + 1):
        admission.account("openai", b"%d" % number)
    assert len(admission.keys(0.0)["openai"]) == MAX_KEYS


def test_a_key_is_read_from_either_header_and_a_long_one_is_not_shown() -> None:
    assert api_key({b"x-api-key": b"a", b"authorization": b"Bearer b"}) == b"a"
    assert api_key({b"authorization": b"bearer b"}) == b"b"
    assert api_key({}) == b""
    assert key_name(b"worker-1") == "worker-1"
    secret = b"sk-ant-" + b"x" * 100
    assert key_name(secret).startswith("sk-ant-x#")
    assert len(key_name(secret)) < 32


def window_with(*tokens: int) -> SlidingWindow:
    window = SlidingWindow(60.0)
    for at, spent in enumerate(tokens):
        window.add(100.0 + at, spent)
    return window


def test_anthropic_headers_tell_what_is_left() -> None:
    headers = Metered(window_with(300, 200), 10, 2000).anthropic_headers(102.0, None)
    for line in (
        b"anthropic-ratelimit-requests-limit: 10\r\n",
        b"anthropic-ratelimit-requests-remaining: 8\r\n",
        b"anthropic-ratelimit-requests-reset: 1970-01-01T00:02:41Z\r\n",
        b"anthropic-ratelimit-tokens-limit: 2000\r\n",
        b"anthropic-ratelimit-tokens-remaining: 1500\r\n",
        b"anthropic-ratelimit-tokens-reset: 1970-01-01T00:02:41Z\r\n",
        b"anthropic-ratelimit-input-tokens-remaining: 1500\r\n",
        b"anthropic-ratelimit-output-tokens-remaining: 1500\r\n",
    ):
        assert line in headers


def test_openai_headers_tell_what_is_left() -> None:
    headers = Metered(window_with(300, 200), 10, 2000).openai_headers(102.0, None)
    assert headers == (
        b"x-ratelimit-limit-requests: 10\r\nx-ratelimit-remaining-requests: 8\r\nx-ratelimit-reset-requests: 59s\r\n"
        b"x-ratelimit-limit-tokens: 2000\r\nx-ratelimit-remaining-tokens: 1500\r\nx-ratelimit-reset-tokens: 59s\r\n"
    )


def test_what_is_not_limited_stays_generous_in_the_headers() -> None:
    only_tokens = Metered(window_with(30), None, 10).openai_headers(100.0, None)
    assert b"x-ratelimit-remaining-requests: %d\r\n" % (REQUESTS_PER_MINUTE - 1) in only_tokens
    assert b"x-ratelimit-remaining-tokens: 0\r\n" in only_tokens
    only_calls = Metered(window_with(30), 5, None).anthropic_headers(100.0, None)
    assert b"input-tokens-limit: %d\r\n" % INPUT_TOKENS_PER_MINUTE in only_calls
    assert b"ratelimit-tokens" not in only_calls


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_in_flight": 0}, "max_in_flight must be a whole number of at least 1, or none, got 0"),
        ({"requests_per_minute": 1.5}, "requests_per_minute must be a whole number"),
        ({"tokens_per_minute": True}, "tokens_per_minute must be a whole number"),
        ({"refuse_with": 500}, "refuse_with must be 429 or 529, got 500"),
        ({"retry_after_s": -1}, "retry_after_s must be a number of at least 0, or none, got -1"),
        ({"retry_after_s": float("inf")}, "retry_after_s must be a number"),
        ({"window_s": 0}, "window_s must be above 0 and at most 86400, got 0"),
        ({"window_s": None}, "window_s must be above 0"),
        ({"enforce": "yes"}, "enforce must be true or false, got 'yes'"),
        ({"outage": "fire"}, "outage must be refuse, 503, hang, drop, or false, got 'fire'"),
        ({"speed": 3}, "unknown field 'speed': limits take max_in_flight, .* enforce and outage"),
    ],
)
def test_wrong_limits_are_refused_in_one_line(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ModelApiError, match=message):
        Limits().changed(fields)
    with pytest.raises(ModelApiError, match=message):
        ModelApi().set_limits(**fields)


def test_limits_are_set_at_the_start_and_from_python() -> None:
    api = ModelApi(ModelApiSettings(limits=Limits(max_in_flight=4)))
    api.set_limits(outage="hang", retry_after_s=None)
    assert api.limits == Limits(max_in_flight=4, outage=Outage.HANG, retry_after_s=None)
    assert api.limits.shown()["outage"] == "hang"
    api.set_limits(outage=False)
    assert api.limits.outage is None
    api.reset_limits()
    assert api.limits == Limits(max_in_flight=4)
