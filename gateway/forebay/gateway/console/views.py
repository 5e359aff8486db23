"""Dead letters and hand-offs as JSON. Strangers wrote them: the page shows them as text, never as HTML. Pure."""

from __future__ import annotations

import shlex
from typing import Any

from forebay.operations.dead_letters.letter import DeadLetter
from forebay.operations.dead_letters.replay_plan import ReplayPlan
from forebay.schemas import Handoff

_TEXT = 200
VALUE_BYTES = 64 * 1024
_HEADER_BYTES = 4 * 1024


def row(letter: DeadLetter) -> dict[str, Any]:
    """A letter in a list."""
    text = letter.text if letter.text is not None else readable(letter.value, _TEXT)
    return {
        "id": str(letter.id),
        "died_at": letter.timestamp,
        "reason": letter.reason[:128],
        "message": letter.message[:_TEXT],
        "conversation": _cut(letter.conversation_id),
        "tenant": _cut(letter.tenant),
        "turn": _cut(letter.turn_id),
        "attempts": letter.attempts,
        "replays": letter.replays,
        "replayed": letter.replayed,
        "text": None if text is None else text[:_TEXT],
        "bytes": len(letter.value or b""),
    }


def whole(letter: DeadLetter) -> dict[str, Any]:
    """A whole letter; very long values are cut."""
    return row(letter) | {
        "topic": letter.topic,
        "key": readable(letter.key, _HEADER_BYTES),
        "message": letter.message,
        "headers": [[name, readable(value, _HEADER_BYTES)] for name, value in letter.headers],
        "value": readable(letter.value, VALUE_BYTES),
        "cut": len(letter.value or b"") > VALUE_BYTES,
    }


def plan(found: ReplayPlan, limit: int | None) -> dict[str, Any]:
    """Plan of a replay."""
    return {
        "letters": found.selected if limit is None else min(limit, found.selected),
        "reasons": found.reasons,
        "replayed_before": found.replayed_before,
        "worn_out": found.worn_out,
    }


def handoff(found: Handoff) -> dict[str, Any]:
    """A conversation that a person has taken over, with the command that returns it."""
    return found.model_dump(mode="json") | {
        "command": f"forebay handoffs return -- {shlex.quote(found.conversation_id)}"
    }


def readable(data: bytes | None, most: int) -> str | None:
    """Bytes as text; what is not UTF-8 as ``\\xff``."""
    return None if data is None else data[:most].decode("utf-8", "backslashreplace")


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:_TEXT]
