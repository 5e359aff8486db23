"""What happens when no model may or can answer: rules, people, and the ceiling on spending."""

from __future__ import annotations

import orjson

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Handoff, Turn
from forebay.workers.assistants import Assistant, HandOff

from .conftest import Fleet, read_topic

REFUSED = "[fault context_too_long]"


async def handoffs(chat: ChatClient) -> list[Handoff]:
    records = await read_topic(chat._cluster, chat._cluster.topics.handoffs)
    assert all(record.key == orjson.loads(record.value)["conversation_id"].encode() for record in records)
    return [Handoff.model_validate_json(record.value) for record in records]


async def test_a_rule_answers_what_no_model_will(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    def rule(turn: Turn) -> str | None:
        return "We open at nine." if "open" in turn.text else None

    await fleet.start(assistant=Assistant(last_resort=rule))
    known = await chat.ask(f"When do you open? {REFUSED}")
    assert (known.outcome, known.text, known.route, known.model) == ("answered", "We open at nine.", "faq", None)
    unknown = await chat.ask(f"Why? {REFUSED}")
    assert (unknown.outcome, unknown.error and unknown.error.code) == ("failed", "rejected_by_model")
    assert len(await read_topic(fleet.cluster, fleet.cluster.topics.dead_letters)) == 1


async def test_a_mistake_in_the_rule_costs_no_turn(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start(assistant=Assistant(last_resort=lambda turn: turn.text[1_000]))
    assert (await chat.ask(f"Hello {REFUSED}")).outcome == "failed"


async def test_a_person_takes_over_with_the_transcript(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start(assistant=Assistant(hand_off=HandOff(after_failures=1)))
    first = await chat.ask("Is SKU001 in stock?", conversation_id="c-1", tenant="shop-eu")
    reply = await chat.ask(f"我要退货 {REFUSED}", conversation_id="c-1", tenant="shop-eu", user_id="u-7")
    assert (reply.outcome, reply.error, reply.text) == ("handed_off", None, "已为您转接人工客服，请稍候。")
    (handoff,) = await handoffs(chat)
    assert (handoff.handoff_id, handoff.reason, handoff.user_id) == (reply.reply_id, "rejected_by_model", "u-7")
    assert [said.text for said in handoff.transcript] == ["Is SKU001 in stock?", first.text, f"我要退货 {REFUSED}"]
    assert await read_topic(fleet.cluster, fleet.cluster.topics.dead_letters) == []


async def test_spending_stops_at_the_ceiling(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    """A loop that asks as fast as it can, by two workers: never more than the ceiling and a call in flight each."""
    ceiling, workers, concurrency = 0.01, 2, 4
    first_estimate = 0.0015  # a worker that has seen no answer reserves 256 tokens for one
    for _ in range(workers):
        await fleet.start(concurrency=concurrency, budget_hour_usd=ceiling)
    replies = [await chat.ask(f"Tell me about article {number}.") for number in range(4)]
    dearest = max(reply.cost_usd or 0.0 for reply in replies)
    spent = sum(reply.cost_usd or 0.0 for reply in replies)
    while (reply := await chat.ask("And the next one?")).outcome == "answered":
        spent += reply.cost_usd or 0.0
        assert spent <= ceiling + workers * concurrency * dearest
    assert spent >= ceiling - first_estimate
    assert (reply.outcome, reply.cost_usd) == ("handed_off", 0.0)
    called = model_api.stats().begun
    assert (await chat.ask("Hello?")).outcome == "handed_off"
    assert model_api.stats().begun == called
    assert {handoff.reason for handoff in await handoffs(chat)} == {"over_budget"}


async def test_near_the_ceiling_the_cheapest_model_answers(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start(
        model="claude-sonnet-5-5", fallbacks="claude-haiku-5-5", budget_hour_usd=1.0, budget_near=0.000_001
    )
    models = [(await chat.ask("Hello")).model for _ in range(2)]
    assert models == ["claude-haiku-5-5"] * 2
