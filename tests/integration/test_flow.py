"""Flow control through a real Kafka and the real SDKs: fallbacks, breakers, outages, limits, timeouts."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from forebay.producers import ChatClient, new_turn
from forebay.rehearsal.model_api import ModelApi, parse_reply
from forebay.schemas import Cluster, Delta, Reply, decode_reply
from forebay.workers import metrics
from forebay.workers.engine.worker import Worker
from forebay.workers.flow.retry import RetryPolicy

from .conftest import Fleet, read_topic, until

HAIKU = "anthropic/claude-haiku-4-5"
LUNA = "gpt-6-luna"


def openness(worker: Worker, upstream: str = HAIKU) -> float:
    """The breaker as its metric tells it."""
    answers: Any = worker._handler
    answers._chain.refresh_metrics()
    value: float = metrics.BREAKER.labels(upstream)._value.get()
    return value


def check_keys(model_api: ModelApi, wanted: bool) -> None:
    """Whether a key with `invalid` in it is refused."""
    service = model_api._service
    service.settings = replace(service.settings, keep_api_key_check=wanted)


async def spread(chat: ChatClient, conversations: int, each: int) -> list[asyncio.Task[Reply]]:
    """Turns of several conversations, sent in order and not awaited."""
    turns = [
        new_turn(f"{name}.{at}", conversation_id=f"c-{name}") for at in range(each) for name in range(conversations)
    ]
    asking = []
    for turn in turns:
        asking.append(asyncio.create_task(chat.ask(turn, timeout_s=60)))
        await asyncio.sleep(0.002)
    return asking


async def replies_in_order(cluster: Cluster, each: int) -> None:
    """Every conversation's turns were answered one after another, each once, and nothing is a dead letter."""
    heard = defaultdict(list)
    for record in await read_topic(cluster, cluster.topics.replies):
        reply = decode_reply(record.value)
        assert reply.outcome == "answered"
        heard[reply.conversation_id].append(parse_reply(reply.text).turn)
    assert all(turns == list(range(1, each + 1)) for turns in heard.values())
    assert await read_topic(cluster, cluster.topics.dead_letters) == []


@pytest.mark.parametrize(
    ("fault", "times"), [("overloaded", 2), ("server_error", 2), ("spend_limit", 1), ("context_too_long", 1)]
)
async def test_another_provider_stands_in(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, fault: str, times: int
) -> None:
    await fleet.start(fallbacks=f" {LUNA} ,")
    model_api.add_fault(fault, count=times)
    reply = await chat.ask("Is it in stock?")
    assert (reply.outcome, reply.model) == ("answered", LUNA)
    assert "Is it in stock?" in reply.text
    again = await chat.ask("And now?")
    assert again.model == (LUNA if fault == "spend_limit" else "claude-haiku-4-5")


async def test_a_refused_key_costs_one_turn_and_the_others_wait(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "invalid")
    worker = await fleet.start(breaker_open_s=2.0)
    with capture_logs() as logs:
        refused = await chat.ask("Who pays?")
    assert refused.error is not None
    assert (refused.error.code, refused.attempts) == ("rejected_by_model", 1)
    (opened,) = [line for line in logs if line["event"] == "breaker.open"]
    assert (opened["log_level"], opened["upstream"]) == ("error", HAIKU)
    assert "key" in opened["fix"]
    assert openness(worker) == 1.0
    assert "no model can be asked" in (worker.ready() or "")
    waiting = await spread(chat, conversations=4, each=2)
    check_keys(model_api, False)
    with capture_logs() as logs:
        replies = await asyncio.gather(*waiting)
    assert {(reply.outcome, reply.attempts) for reply in replies} == {("answered", 1)}
    assert [line["event"] for line in logs if line["event"].startswith("breaker")] == ["breaker.closed"]
    assert openness(worker) == 0.0
    assert worker.ready() is None
    (letter,) = await read_topic(cluster, cluster.topics.dead_letters)
    assert dict(letter.headers)["dlq.reason"] == b"rejected_by_model"


async def test_of_two_keys_the_refused_one_is_left_alone(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_ANTHROPIC_API_KEYS", "invalid-1,good-2")
    worker = await fleet.start()
    replies = [await chat.ask(f"Number {number}") for number in range(5)]
    assert {reply.outcome for reply in replies} == {"answered"}
    assert [reply.attempts for reply in replies] == [2, 1, 1, 1, 1]
    assert (openness(worker, f"{HAIKU}#1"), openness(worker, f"{HAIKU}#2")) == (1.0, 0.0)


@pytest.mark.parametrize("outage", ["503", "refuse", "drop"])
@pytest.mark.takes(12)
async def test_an_outage_leaves_no_dead_letters(
    cluster: Cluster,
    fleet: Fleet,
    chat: ChatClient,
    model_api: ModelApi,
    outage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.integration.conftest.QUICK_RETRY", RetryPolicy())
    worker = await fleet.start(breaker_failures=5, breaker_open_s=0.5)
    model_api.set_limits(outage=outage)
    asking = await spread(chat, conversations=8, each=4)
    await until(lambda: openness(worker) == 1.0)
    begun = model_api.stats().begun
    await until(lambda: model_api.stats().begun >= begun + 2)  # one at a time tries, and fails
    assert not any(task.done() for task in asking)
    model_api.set_limits(outage=None)
    replies = await asyncio.gather(*asking)
    assert {reply.outcome for reply in replies} == {"answered"}
    await replies_in_order(cluster, each=4)
    assert openness(worker) == 0.0


async def test_an_outage_uses_the_fallback_meanwhile_and_the_first_again(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    worker = await fleet.start(fallbacks=LUNA, breaker_failures=2, breaker_open_s=4.0)
    model_api.add_fault("server_error", count=2)
    assert (await chat.ask("One")).model == LUNA
    assert openness(worker) == 1.0
    replies = [await chat.ask(f"Number {number}", conversation_id=f"c-{number}") for number in range(10)]
    assert {(reply.model, reply.attempts) for reply in replies} == {(LUNA, 1)}

    async with asyncio.timeout(15):
        while (await chat.ask("And now?")).model == LUNA:
            await asyncio.sleep(0.1)
    assert openness(worker) == 0.0


async def test_a_long_conversation_is_answered_after_trimming(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str
) -> None:
    await fleet.start(model=model)
    for number in range(6):
        await chat.ask(f"Word {number}", conversation_id="c-1")
    model_api.add_fault("context_too_long", count=1)
    reply = await chat.ask("Where is it?", conversation_id="c-1")
    assert (reply.outcome, reply.attempts) == ("answered", 2)
    assert parse_reply(reply.text).turn == 2  # of seven
    reply = await chat.ask("Thank you", conversation_id="c-1")
    assert (parse_reply(reply.text).turn, reply.attempts) == (8, 1)


@pytest.mark.parametrize("fault", ["slow_first_token", "hang"])
async def test_a_silent_stream_is_given_up_and_asked_again(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str, fault: str
) -> None:
    await fleet.start(model=model, first_token_timeout_s=0.6, between_tokens_timeout_s=0.3)
    model_api.add_fault(fault, count=1)
    with capture_logs() as logs:
        heard = [part async for part in chat.stream("Tell me about the blue one " * 8)]
    reply = heard.pop()
    assert isinstance(reply, Reply)
    assert (reply.outcome, reply.attempts) == ("answered", 2)
    (retried,) = [line for line in logs if line["event"] == "turn.retry"]
    assert "FOREBAY_FIRST_TOKEN_TIMEOUT_S" in retried["error"]
    assert reply.text.startswith(shown(heard))
    await until(lambda: model_api.stats().in_flight == 0)


@pytest.mark.parametrize(
    ("gap_ms", "setting"), [(20_000.0, "FOREBAY_BETWEEN_TOKENS_TIMEOUT_S"), (150.0, "FOREBAY_CALL_TIMEOUT_S")]
)
async def test_a_reader_drops_what_a_stalled_stream_had_shown(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi, model: str, gap_ms: float, setting: str
) -> None:
    """A stream that stops, and one that goes on too slowly, until the whole call's time is over."""
    await fleet.start(model=model, call_timeout_s=1.0, between_tokens_timeout_s=0.4)
    service = model_api._service
    service.settings = replace(service.settings, token_ms=gap_ms)
    heard = []
    with capture_logs() as logs:
        async for part in chat.stream("Tell me about the blue one " * 8):
            heard.append(part)
            service.settings = replace(service.settings, token_ms=1.0)
    reply = heard.pop()
    assert isinstance(reply, Reply)
    assert (reply.outcome, reply.attempts) == ("answered", 2)
    assert [setting in line["error"] for line in logs if line["event"] == "turn.retry"] == [True]
    assert [delta.restart for delta in heard if isinstance(delta, Delta)].count(True) == 1
    assert reply.text.startswith(shown(heard))


def shown(heard: list[Any]) -> str:
    """What a reader has on the screen."""
    text = ""
    for delta in heard:
        text = delta.text if delta.restart else text + delta.text
    return text


async def test_requests_a_minute_are_kept(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    """The limit is the operator's, however much more the provider says it would take."""
    await fleet.start(rpm=10.0, drain_s=0)
    asking = await spread(chat, conversations=25, each=1)
    await asyncio.wait(asking[:10], timeout=20)
    began = time.monotonic()
    await until(lambda: sum(task.done() for task in asking) >= 10)
    while time.monotonic() < began + 1.5:
        assert model_api.stats().begun <= 10
        await asyncio.sleep(0.05)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_provider_with_less_room_is_filled_and_hardly_refuses(
    cluster: Cluster, fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    """A burst of 40 for a provider that takes 8 at once."""
    worker = await fleet.start(concurrency=40)
    await chat.ask("Are you there?", conversation_id="c-0")
    model_api.set_limits(max_in_flight=8, retry_after_s=None)
    turns = [new_turn(f"{name}", conversation_id=f"d-{name}") for name in range(300)]
    replies = await asyncio.gather(*(chat.ask(turn, timeout_s=60) for turn in turns))
    assert {reply.outcome for reply in replies} == {"answered"}
    stats = model_api.stats()
    assert stats.peak_working <= 8
    answers: Any = worker._handler
    assert answers.permits() <= 16
    assert sum(stats.refused.values()) <= 100
    assert await read_topic(cluster, cluster.topics.dead_letters) == []
