"""Whether a person is wanted: because the customer asks for one, in Chinese or English, or by a rule. Pure."""

from __future__ import annotations

import re

from forebay.schemas import Turn

from .definition import HandOff
from .text import normalised

_MOST = 200
"""Characters of a text that is read: who wants a person says so in few words; a long story goes to the model."""

_WANTED = re.compile(
    r"(?:转接?|找|要|叫|换|接|联系|有没有|是不是|需要|想要|给我)[^不别]{0,4}"
    r"(?:真人|活人|人工(?=$|客服|服务|坐席|[吧啊呢吗了来帮处回解接 ]))"
    r"|^(?:人工|真人)(?:客服|服务)?$|人工客服|转人工"
    r"|\b(?:talk|speak|chat|connect|transfer|switch|get|want|need|give|put)\b[^.?!]{0,24}"
    r"\b(?:a |an |the |some |your |to )*(?:real |live |actual |human )*"
    r"(?:human(?! error)|person(?! sized)|representative|agent|operator|someone real)\b"
    r"|^(?:human|agent|representative|operator|real person)(?: please)?$"
)
_NOT_WANTED = re.compile(
    r"不(?:用|要|需要|想)[^，,。]{0,3}(?:转|找)?(?:人工|真人)|别转|\b(?:don t|dont|do not|no need|not)\b[^.?!]{0,24}"
    r"\b(?:human|person|agent|operator|representative)\b"
)


def asks_for_person(text: str) -> bool:
    """Whether the text is a wish for a person."""
    if len(text) > _MOST:
        return False
    plain = normalised(text)
    return bool(_WANTED.search(plain)) and not _NOT_WANTED.search(plain)


def person_wanted(rules: HandOff, turn: Turn) -> str | None:
    """Why a person is to take over before a model is asked; None when none is."""
    if rules.on_request and asks_for_person(turn.text):
        return "asked_for"
    return "rule" if rules.when is not None and rules.when(turn) else None
