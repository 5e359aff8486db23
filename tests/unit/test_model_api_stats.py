"""The counters of the simulated model API."""

from forebay.rehearsal.model_api import turn_key
from forebay.rehearsal.model_api.limits.rate_headers import (
    REQUESTS_PER_MINUTE,
    MinuteUsage,
    duration,
    rfc3339,
)
from forebay.rehearsal.model_api.stats import MAX_KEY_CHARS, CallCounters


def test_calls_are_counted_by_provider_and_outcome() -> None:
    counters = CallCounters()
    for _ in range(3):
        counters.begin()
    counters.finish("openai", "ok")
    counters.finish("anthropic", "hang")
    stats = counters.snapshot()
    assert stats.calls == {"anthropic": {"hang": 1}, "openai": {"ok": 1}}
    assert (stats.begun, stats.in_flight, stats.peak_in_flight) == (3, 1, 3)
    assert stats.outcome("ok") == 1


def test_calls_are_counted_by_turn() -> None:
    counters = CallCounters()
    assert [counters.turn(text) for text in ("a", "b", "a")] == [1, 1, 2]
    assert counters.snapshot().turns == {"a": 2, "b": 1}
    assert counters.snapshot().repeated() == {"a": 2}


def test_the_turns_counted_are_bounded() -> None:
    counters = CallCounters(max_turns=2)
    for text in ("a", "b", "a", "c"):
        counters.turn(text)
    assert counters.snapshot().turns == {"b": 1, "c": 1}


def test_long_texts_are_counted_apart_under_short_keys() -> None:
    first, second = "x" * 10_000 + "1", "x" * 10_000 + "2"
    assert turn_key(first) != turn_key(second)
    assert len(turn_key(first)) < MAX_KEY_CHARS + 20
    assert turn_key("short") == "short"


def test_remaining_falls_within_a_minute_and_starts_again_in_the_next() -> None:
    allowance = MinuteUsage()
    for now in (60.0, 61.0, 119.0):
        allowance.spend(now, 10, 5)
    assert b"requests-remaining: %d\r\n" % (REQUESTS_PER_MINUTE - 3) in allowance.anthropic_headers(119.0, None)
    assert b"anthropic-ratelimit-requests-reset: 1970-01-01T00:02:00Z\r\n" in allowance.anthropic_headers(119.0, None)
    assert b"x-ratelimit-reset-requests: 1s\r\n" in allowance.openai_headers(119.0, None)
    allowance.spend(120.0, 10, 5)
    assert b"remaining-requests: %d\r\n" % (REQUESTS_PER_MINUTE - 1) in allowance.openai_headers(120.0, None)


def test_an_exhausted_limit_shows_nothing_left() -> None:
    headers = MinuteUsage().anthropic_headers(100.0, 2.5)
    assert b"anthropic-ratelimit-requests-remaining: 0\r\n" in headers
    assert b"anthropic-ratelimit-requests-reset: 1970-01-01T00:01:43Z\r\n" in headers
    assert b"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 2.5s\r\n" in MinuteUsage().openai_headers(
        100.0, 2.5
    )


def test_moments_and_durations_are_written_as_the_vendors_do() -> None:
    assert rfc3339(1_795_222_800.0) == b"2026-11-21T01:00:00Z"
    assert [duration(seconds) for seconds in (0, 0.012, 1.5, 10.0, 360.0)] == [
        b"0ms",
        b"12ms",
        b"1.5s",
        b"10s",
        b"6m0s",
    ]
