"""Replies that show which user messages arrived, and in which order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

LAST_CHARS = 80
"""Characters of the last user text that a reply quotes."""
EARLIER_CHARS = 24
"""Characters of each earlier user text that a reply repeats."""
EARLIER_BUDGET = 600
"""Characters of all earlier user texts together; the latest are kept."""

_SEPARATOR = " | "
_CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_REPLY = re.compile(
    r"\[turn (?P<turn>\d+)\] (?:"
    r"I understand: “[^”]*”\.(?: The tools answered: “[^”]*”\.)?(?: Earlier you told me: (?P<en>.*))?"
    r"|收到：“[^”]*”。(?:工具返回：“[^”]*”。)?(?:之前您说过：(?P<zh>.*))?"
    r")",
    re.DOTALL,
)
_TURN = re.compile(r"\[turn (\d+)\] ")


@dataclass(frozen=True, slots=True)
class Echo:
    """What a reply tells about the request."""

    turn: int
    """User text messages in the request."""
    earlier: list[str] = field(default_factory=list)
    """Earlier user texts, oldest first, each clipped; the oldest are missing when they exceed the budget."""


def clip(text: str, chars: int) -> str:
    """The text on one line, cut to `chars`, without the characters that a reply is parsed by."""
    # Only the head of a long text can survive the cut: the rest is not worth scanning.
    line = " ".join(text[: chars * 8].split())
    return line.replace("|", "¦").replace("”", '"')[:chars].rstrip()


def earlier_texts(user_texts: Sequence[str]) -> list[str]:
    """All texts but the last, clipped, the latest ones that fit the budget, oldest first."""
    kept: list[str] = []
    room = EARLIER_BUDGET
    for text in reversed(user_texts[:-1]):
        clipped = clip(text, EARLIER_CHARS)
        room -= len(clipped) + len(_SEPARATOR)
        if room < 0:
            break
        kept.append(clipped)
    kept.reverse()
    return kept


def echo_of(user_texts: Sequence[str]) -> Echo:
    """What the reply to these user texts tells."""
    return Echo(len(user_texts), earlier_texts(user_texts))


def reply_text(user_texts: Sequence[str], tool_results: Sequence[str] = ()) -> str:
    """The reply to a request whose user text messages are these, oldest first; Chinese to a Chinese last text."""
    last = user_texts[-1] if user_texts else ""
    quoted, results = clip(last, LAST_CHARS), _SEPARATOR.join(clip(result, LAST_CHARS) for result in tool_results)
    earlier = _SEPARATOR.join(earlier_texts(user_texts))
    start = f"[turn {len(user_texts)}] "
    if _CJK.search(quoted):
        return (
            f"{start}收到：“{quoted}”。"
            + (f"工具返回：“{results}”。" if tool_results else "")
            + (f"之前您说过：{earlier}" if len(user_texts) > 1 else "")
        )
    return (
        f"{start}I understand: “{quoted}”."
        + (f" The tools answered: “{results}”." if tool_results else "")
        + (f" Earlier you told me: {earlier}" if len(user_texts) > 1 else "")
    )


def parse_reply(text: str) -> Echo:
    """What a reply tells. A tool call's opening words carry the turn alone. ValueError if it is no such reply."""
    whole = _REPLY.fullmatch(text)
    if whole is None:
        start = _TURN.match(text)
        if start is None:
            raise ValueError(f"not a reply of the simulated model: {text[:60]!r}")
        return Echo(int(start[1]))
    earlier = whole["en"] if whole["en"] is not None else whole["zh"]
    return Echo(int(whole["turn"]), [] if earlier is None else earlier.split(_SEPARATOR))
