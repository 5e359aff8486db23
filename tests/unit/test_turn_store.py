"""A turn's way to the store: what is kept of a conversation when its turn ends."""

from __future__ import annotations

from typing import Any, cast

from forebay.schemas import Turn, encode
from forebay.workers.answering import replies
from forebay.workers.answering.turn_context import Effort, Member, TurnContext, TurnEnding
from forebay.workers.answering.turn_store import TurnStore
from forebay.workers.conversations import (
    Claim,
    Conversation,
    Entry,
    Exchange,
    Loaded,
    Pending,
    State,
    Store,
    StoredReply,
)
from forebay.workers.conversations.redaction import Redactor
from forebay.workers.engine.inbound import InboundRecord
from forebay.workers.engine.permit import Permit
from forebay.workers.engine.turn_group import TurnGroup
from forebay.workers.flow.budget import Budget, Ceilings


class NotingStore:
    """Takes everything, and notes what was recorded."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def save_state(self, claim: Claim, state: State, erased_at: float | None = None) -> bool:
        return True

    async def record(self, entry: Entry, *, replace: bool = False) -> tuple[StoredReply, ...]:
        self.entries.append(entry)
        return (entry.reply,)


def context_of(past: Loaded) -> TurnContext:
    turn = Turn(turn_id="t-1", conversation_id="c-1", text="Cancel order 1001.")
    context = TurnContext(turn, TurnGroup((), cast(Permit, None)), Effort(0, 0.0), deadline=1.0)
    context.lead = Member(cast(InboundRecord, None), turn, 1.0, claim=Claim("c-1", "t-1", "w-1"))
    context.loaded(past)
    return context


async def recorded(context: TurnContext, *saved: State, **ending: Any) -> Entry:
    """The entry of a turn that saved these states on its way."""
    noting = NotingStore()
    store = TurnStore(cast(Store, noting), Budget(Ceilings()), 20)
    for state in saved:
        await store.save_state(context, state)
    reply = replies.by_rule(context, "Done.")
    await store.record(context, TurnEnding(reply, **ending), encode(reply))
    (entry,) = noting.entries
    return entry


CANCEL = Pending(action_id="a-1", tool="cancel", arguments="{}", summary="Cancel 1001", user_id="u-1", expires_at=9.0)
BEGUN = State(pending=CANCEL)


async def test_a_bill_for_a_summary_does_not_bring_back_a_state_that_was_saved_over() -> None:
    context = context_of(Loaded(None, (), conversation=Conversation(exchanges=9, summary="s", summary_usd=0.01)))
    entry = await recorded(context, BEGUN)
    assert entry.state == BEGUN.billed(0.01)


async def test_an_ending_whose_state_is_the_one_before_the_saved_one_is_written() -> None:
    context = context_of(Loaded(None, ()))
    assert (await recorded(context, BEGUN, state=State())).state == State()


async def test_a_state_that_the_store_has_is_not_written_again() -> None:
    context = context_of(Loaded(None, ()))
    assert (await recorded(context, BEGUN, state=BEGUN)).state is None


def test_models_read_a_placeholder_where_a_person_wrote_what_is_personal() -> None:
    said, message = Exchange("Call [PHONE_1]", "Yes"), Exchange("", "I call 13800138000 at noon", person="Anna")
    state = State(vault={"PHONE_1": "13800138000"})
    context = context_of(Loaded(None, ()))
    context.redactor = Redactor()
    context.loaded(Loaded(None, (said, message), conversation=Conversation(exchanges=2, state=state)))
    assert context.history == (said, message._replace(answer="I call [PHONE_1] at noon"))
    assert context.shown_history() == [said._replace(said="Call 13800138000"), message]


async def test_what_a_person_wrote_is_hidden_from_models_and_found_again_by_the_next_turn() -> None:
    past = (Exchange("hello", "hi"), Exchange("", "I call you at 13800138000.", person="Anna"))
    context = context_of(Loaded(None, past))
    context.redactor = Redactor()
    context.begin_with(State())
    assert [exchange.answer for exchange in context.history] == ["hi", "I call you at [PHONE_1]."]
    entry = await recorded(context, state=context.state_after())
    assert entry.state is not None
    assert entry.state.vault == {"PHONE_1": "13800138000"}
