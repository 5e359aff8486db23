"""Merging: which waiting turns of a conversation are answered together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from forebay.schemas import MAX_TEXT, WhenBusy

from .inbound import InboundRecord

MOST_TURNS = 10
"""Turns in a group."""
MOST_CHARACTERS = MAX_TEXT
"""Of all their texts together."""


def rule(turn: InboundRecord, default: WhenBusy) -> WhenBusy:
    """What the turn does when it finds its conversation busy."""
    return turn.when_busy or default


def joins(group: Sequence[InboundRecord], following: InboundRecord, default: WhenBusy) -> bool:
    """Whether the turn after these is answered together with them: it wants to, and all are texts of one user."""
    return (
        rule(following, default) in ("merge", "interrupt")
        and len(group) < MOST_TURNS
        and all(_alike(turn, following) for turn in group)
        and _characters((*group, following)) <= MOST_CHARACTERS
    )


def all_join(group: Sequence[InboundRecord], waiting: Iterable[InboundRecord], default: WhenBusy) -> bool:
    """Whether all of these that wait could be answered together with the group."""
    together = list(group)
    for turn in waiting:
        if not joins(together, turn, default):
            return False
        together.append(turn)
    return True


def _alike(one: InboundRecord, other: InboundRecord) -> bool:
    return bool(
        one.characters
        and other.characters
        and one.partition == other.partition
        and one.turn_id != other.turn_id
        and one.origin.user == other.origin.user
        and one.origin.tenant == other.origin.tenant
    )


def _characters(turns: Sequence[InboundRecord]) -> int:
    """Of the texts and of what stands between them."""
    return sum(turn.characters for turn in turns) + len(turns) - 1
