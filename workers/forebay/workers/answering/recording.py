"""Recording: how a turn's end is stored, and what is published then."""

from __future__ import annotations

import time

from forebay.schemas import CONVERSATION_BUSY, Failure, Headers, Reason, Reply, Turn, decode_reply, encode
from forebay.schemas import headers as names
from forebay.workers import metrics
from forebay.workers.conversations import StoredReply
from forebay.workers.engine.publication import Publication
from forebay.workers.flow.budget import Budget

from . import replies
from .summariser import Summariser
from .turn_context import Member, TurnContext, TurnEnding
from .turn_store import TurnStore

MAX_REPLY_BYTES = 1_000_000
"""Larger replies would not fit Kafka's default record size with their headers."""


class Recording:
    """Stores the replies of groups, and gives what is to be published for each of their turns."""

    def __init__(self, store: TurnStore, budget: Budget, summariser: Summariser) -> None:
        self._store, self._budget, self._summariser = store, budget, summariser

    async def record(self, context: TurnContext, ending: TurnEnding) -> list[Publication]:
        """Stores the replies before anyone sees them; another worker's, if it was first, is the one that counts.

        Raises AnsweredMeanwhile when the conversation was erased.
        """
        ending, value = _encodable(context, ending)
        lead, others = context.lead, [member for member in context.open if member is not context.lead]
        stored, *further = await self._store.record(context, ending, value, _ends(context, others, ending.reply))
        if ending.summarise_to:
            past = context.past._replace(history=context.history)
            self._summariser.begin(context.turn.conversation_id, past, ending.summarise_to)
        left_out = context.effort.left_out_bytes * context.effort.attempts
        metrics.LEFT_OUT.inc(left_out)
        failure = ending.failure if stored.value == value else None
        publication = _publication(context, context.turn, stored, failure, left_out)
        if lead is None:
            return [publication]
        new = {lead: publication}
        for member, counts in zip(others, further, strict=True):
            new[member] = _publication(context, member.turn, counts, _failure_of(counts))
        return [new.get(member) or _again(context, member) for member in context.members]

    def again(self, context: TurnContext) -> list[Publication]:
        """The replies that the turns have already; a dead letter may not have been published before a crash."""
        # What was spent by an attempt that came to nothing.
        self._budget.recorded(context.scopes, context.effort.cost_usd, time.time())
        return [_again(context, member) for member in context.members]


def _again(context: TurnContext, member: Member) -> Publication:
    assert member.stored is not None
    return _publication(context, member.turn, member.stored, _failure_of(member.stored), again=True)


def _ends(context: TurnContext, others: list[Member], lead: Reply) -> list[tuple[str, StoredReply]]:
    """How the others of a group end with its lead, by turn id."""
    told = [(member, replies.with_the_lead(context, member, lead)) for member in others]
    return [(member.turn.turn_id, StoredReply(reply.outcome, encode(reply))) for member, reply in told]


def _encodable(context: TurnContext, ending: TurnEnding) -> tuple[TurnEnding, bytes]:
    """The ending, and its reply's bytes; a failure where there are none that can be published."""
    value, wrong = _encoded(ending.reply)
    if not wrong:
        return ending, value
    failure = Failure(Reason.HANDLER_ERROR, wrong, context.effort.attempts)
    ending = TurnEnding(replies.failed(context, failure), failure=failure)
    return ending, encode(ending.reply)


def _publication(
    context: TurnContext,
    turn: Turn,
    stored: StoredReply,
    failure: Failure | None,
    left_out_bytes: int = 0,
    *,
    again: bool = False,
) -> Publication:
    """What to publish for a turn whose reply is stored; ``again`` where it may have been published before."""
    headers: Headers = ((names.TENANT, turn.tenant.encode()),) if turn.tenant else ()
    if left_out_bytes:
        headers += ((names.LEFT_OUT, b"%d" % left_out_bytes),)
    transcript = _transcript(context, turn, stored, again=again) if stored.outcome == "handed_off" else None
    return Publication(stored.value, failure, turn.conversation_id, stored.outcome, transcript, headers)


def _transcript(context: TurnContext, turn: Turn, stored: StoredReply, *, again: bool) -> bytes:
    """What the person is sent: of a conversation that they have already, only what is new."""
    history = context.shown_history()
    if again:  # this turn is part of it by now
        said = [exchange.said for exchange in history]
        history = history[: len(said) - said[::-1].index(turn.text) - 1] if turn.text in said else history
    elif context.past.conversation.handed_off:
        history = []
    return encode(replies.handoff(turn, decode_reply(stored.value), history))


def _encoded(reply: Reply) -> tuple[bytes, str]:
    """(the reply's bytes, why it is none that can be published: what the assistant's own code returned is not checked)."""
    try:
        if reply.model is None:  # its text comes from the assistant's own code
            Reply.model_validate(dict(reply))
        value = encode(reply)
    except (TypeError, ValueError) as error:
        return b"", f"the reply is no text: {error}"
    if len(value) > MAX_REPLY_BYTES:
        return b"", f"the reply has {len(value):,} bytes, more than a record takes"
    return value, ""


def _failure_of(stored: StoredReply) -> Failure | None:
    """The failure in a stored reply that is a dead letter's."""
    if stored.outcome != "failed":
        return None
    reply = decode_reply(stored.value)
    if reply.error is None or reply.error.code == CONVERSATION_BUSY:
        return None
    return Failure(Reason(reply.error.code), reply.error.message, reply.attempts)
