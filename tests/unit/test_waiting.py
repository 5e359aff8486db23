"""Who hears what about a turn: its own words, and those of the turn that it was merged into."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from forebay.producers.waiting import Waiter, Waiters
from forebay.schemas import Delta, Reply


def reply(turn_id: str, **fields: Any) -> Reply:
    given = {
        "outcome": "answered",
        "text": "",
        "conversation_id": "c",
        "reply_id": "r",
        "created_at": datetime.now(UTC),
    }
    return Reply(turn_id=turn_id, **{**given, **fields})


def heard(waiter: Waiter) -> list[str]:
    told = [waiter.get_nowait() for _ in range(waiter.qsize())]
    return [each.turn_id for each in told]


def test_each_hears_its_own_turn_and_is_forgotten_after_it() -> None:
    waiters = Waiters()
    with waiters.waiting("t-1") as one, waiters.waiting("t-1") as again, waiters.waiting("t-2") as other:
        waiters.tell(Delta(turn_id="t-1", conversation_id="c", sequence=0, text="So"))
        waiters.tell(reply("t-1"))
        assert heard(one) == heard(again) == ["t-1", "t-1"]
        assert heard(other) == []
    assert not waiters


def test_a_merged_turn_hears_what_it_was_merged_into_even_when_both_come_at_once() -> None:
    waiters = Waiters()
    with waiters.waiting("t-1") as first, waiters.waiting("t-3") as last:
        for told in (reply("t-1", outcome="merged", merged_into="t-3"), reply("t-3")):
            waiters.tell(told)
        assert heard(first) == ["t-1", "t-3"]
        assert heard(last) == ["t-3"]
    assert not waiters
