"""Confirmations: which action waits for the customer's word, and what their word leads to.

A model's word never runs a tool marked ``confirm=True``; the customer's does, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import structlog

from forebay.schemas import Turn, new_id
from forebay.workers.conversations import Pending, State
from forebay.workers.mistakes import MISTAKES, raise_if_ours
from forebay.workers.models import ToolCall, ToolResult

from .toolbox import Toolbox
from .tools import Customer, ToolError

log = structlog.get_logger()

_LONGEST = 2_000
"""Characters of a summary: the customer has to read it before they agree."""

Verdict = Literal["run", "run_again", "tell", "declined", "late", "repeated", "unknown"]
"""``run_again`` after a crash while it ran; ``tell`` after a crash when it had run; ``unknown`` is no action of theirs."""


async def proposed(
    calls: Sequence[ToolCall], turn: Turn, toolbox: Toolbox, confirm_s: float, now: float
) -> Pending | ToolResult | None:
    """The first of the calls that needs the customer's word, as an action that waits for it; None when none does.

    A result where its summary says that it cannot be done. What cannot be run as it is asked for is left to the toolbox,
    which tells the model why.
    """
    for call in calls:
        tool = toolbox.find(call.name)
        if tool is None or tool.summary is None or (tool.needs_customer and turn.user_id is None):
            continue
        try:
            arguments = tool.check(call.arguments)
        except ToolError:
            continue
        try:
            summary = await tool.summary(arguments, customer_of(turn), turn.text)
            if not summary.strip() or len(summary) > _LONGEST or summary.encode() == b"":
                raise ValueError(f"a summary of {len(summary):,} characters")
        except ToolError as error:
            return ToolResult(call.call_id, f"error: {error}", failed=True)
        except MISTAKES as error:
            raise_if_ours(error)
            log.exception("summary.failed", tool=tool.name)
            return ToolResult(call.call_id, "error: the tool failed", failed=True)
        return Pending(
            action_id=new_id(),
            tool=tool.name,
            arguments=call.arguments,
            user_id=turn.user_id,
            tenant=turn.tenant,
            summary=summary,
            expires_at=now + confirm_s,
        )
    return None


def customer_of(turn: Turn) -> Customer | None:
    """Who asks; None for someone who is not signed in."""
    if turn.user_id is None:
        return None
    return Customer(turn.user_id, turn.tenant, turn.conversation_id, turn.attributes)


def _theirs(action: Pending, turn: Turn) -> bool:
    return (action.user_id, action.tenant) == (turn.user_id, turn.tenant)


def verdict(state: State, turn: Turn, now: float) -> tuple[Verdict, Pending | None]:
    """What a turn's `confirm` leads to, and for which action."""
    assert turn.confirm is not None
    for action in (state.pending, state.settled):
        if action is None or action.action_id != turn.confirm.action_id or not _theirs(action, turn):
            continue
        if action is state.settled:
            return "repeated", action
        if action.turn_id is not None:  # it has begun
            if action.turn_id != turn.turn_id:
                return "repeated", action
            return ("tell" if action.result is not None else "run_again"), action
        if not turn.confirm.accept:
            return "declined", action
        return ("late" if now > action.expires_at else "run"), action
    return "unknown", None
