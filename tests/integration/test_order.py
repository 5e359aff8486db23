"""Whose turn is next, and that a turn expires on time whoever goes before it, on real Kafka."""

from __future__ import annotations

import asyncio
from functools import partial

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import Fault, ModelApi
from forebay.workers.engine.worker import Worker

from .conftest import Fleet, until
from .test_assistant import turn


def waits(worker: Worker, turns: int) -> bool:
    return worker.state().waiting == turns


async def test_a_turn_expires_on_time_although_no_permit_is_free(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    model_api.add_fault(Fault.HANG, count=1)
    await fleet.start(concurrency=1, turn_ttl_s=2.0)
    busy = asyncio.create_task(chat.ask(turn("busy", conversation_id="c-1")))
    await until(lambda: model_api.stats().in_flight == 1)
    waiting = [turn(text, conversation_id="c-2") for text in ("first", "second")]
    replies = await asyncio.gather(*(chat.ask(each, timeout_s=20) for each in waiting))
    assert [(reply.outcome, reply.error and reply.error.code) for reply in replies] == [("expired", "expired")] * 2
    assert replies[0].created_at <= replies[1].created_at
    assert model_api.stats().begun == 1, "no model was called for them"
    assert not busy.done()
    busy.cancel()


async def test_who_has_waited_beyond_patience_goes_after_who_has_not(
    fleet: Fleet, chat: ChatClient, model_api: ModelApi
) -> None:
    model_api.add_fault(Fault.SLOW_FIRST_TOKEN, count=1, seconds=2.0)
    worker = await fleet.start(concurrency=1, patience_s=0.0)
    tasks = [asyncio.create_task(chat.ask(turn("busy", conversation_id="c-0")))]
    await until(lambda: model_api.stats().in_flight == 1)
    for number in (1, 2, 3):
        customer = turn("waits", conversation_id=f"c-{number}", user_id=f"u-{number}")
        tasks.append(asyncio.create_task(chat.ask(customer)))
        await until(partial(waits, worker, number))
    _, *waited = await asyncio.gather(*tasks)
    assert sorted(waited, key=lambda reply: reply.created_at) == waited[::-1], "the newest first"
