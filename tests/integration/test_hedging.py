"""A call that takes unusually long gets a second one beside it, and the first answer counts."""

from __future__ import annotations

import time

from forebay.producers import ChatClient
from forebay.rehearsal.model_api import Fault, ModelApi

from .conftest import Fleet


async def test_a_hanging_call_is_overtaken(fleet: Fleet, chat: ChatClient, model_api: ModelApi) -> None:
    await fleet.start(hedge_share=0.5, call_timeout_s=30)
    for number in range(60):
        await chat.ask(f"warm {number}", conversation_id=f"c-{number % 5}")
    begun = model_api.stats().begun
    model_api.add_fault(Fault.HANG, count=1)
    asked = time.monotonic()
    reply = await chat.ask("Are you there?")
    assert (reply.outcome, reply.attempts) == ("answered", 2)
    assert time.monotonic() - asked < 10
    assert model_api.stats().begun == begun + 2
