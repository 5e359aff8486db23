"""Confirmations: which action waits for the customer's word, and what their word leads to.

A model's word never runs a tool marked ``confirm=True``; the customer's does, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from schemas import Turn, new_id
from workers.conversations import Pending, State
from workers.models import ToolCall, ToolResult

from .toolbox import Toolbox
from .tools import Customer, ToolError

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
        except ToolError as error:
            return ToolResult(call.call_id, f"error: {error}", failed=True)
        return Pending(
            action_id=new_id(),
            tool=tool.name,
            arguments=call.arguments,
            user_id=turn.user_id,
            summary=summary,
            expires_at=now + confirm_s,
        )
    return None


def customer_of(turn: Turn) -> Customer | None:
    """Who asks; None for someone who is not signed in."""
    if turn.user_id is None:
        return None
    return Customer(turn.user_id, turn.tenant, turn.conversation_id, turn.attributes)


def verdict(state: State, turn: Turn, now: float) -> tuple[Verdict, Pending | None]:
    """What a turn's `confirm` leads to, and for which action."""
    assert turn.confirm is not None
    for action in (state.pending, state.settled):
        if action is None or action.action_id != turn.confirm.action_id or action.user_id != turn.user_id:
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
