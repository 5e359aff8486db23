"""How hard a turn is, so that easy ones go to a cheap model: points for what the text and the conversation show.

Every sign adds points of effort, some of them points of thought too: sums to do, a plan, the law. From ``_COMPLEX`` of
effort a turn is complex, from ``_REASONING`` of thought it needs reasoning. Pure, no model, constant time for a long
text. docs/routing.md has the figures and how to replace it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .text import HAN, normalised

Complexity = Literal["simple", "complex", "reasoning"]
"""What may stand in for ``complexity``."""

_COMPLEX = 2
_REASONING = 4
_END = 500
"""Characters that are read of each end of a long text."""
_LONG_TALK = 20
"""Exchanges from which the past is much to keep in mind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What is known of a turn before a model is asked."""

    text: str
    """What the customer wrote."""
    exchanges: int = 0
    """Answered turns of this conversation so far."""
    tools: int = 0
    """Tools that the model is offered."""
    failures: int = 0
    """How many of the conversation's last turns went wrong, or were asked again."""


class Sign(NamedTuple):
    """One thing that was found, and its points."""

    name: str
    effort: int
    thought: int = 0


def complexity(signals: Signals) -> Complexity:
    """Which model the turn deserves."""
    found = signs(signals)
    if sum(sign.thought for sign in found) >= _REASONING:
        return "reasoning"
    return "complex" if sum(sign.effort for sign in found) >= _COMPLEX else "simple"


def signs(signals: Signals) -> list[Sign]:
    """All that speaks for more than the cheapest model: what a log shows of a decision."""
    text = signals.text
    if len(text) > 2 * _END:
        text = f"{text[:_END]} {text[-_END:]}"
    plain = normalised(text)[: 4 * _END]
    found = [sign for sign, pattern in _INTENTS if pattern.search(plain)]
    found += _measures(text, plain)
    if signals.failures > 0:
        found.append(Sign("failures", 2))
    if signals.tools and len(_DEED.findall(plain)) >= 2:
        found.append(Sign("several deeds", 2))
    if signals.exchanges >= _LONG_TALK:
        found.append(Sign("long talk", 1))
    return found


def _measures(text: str, plain: str) -> Iterator[Sign]:
    """What is counted rather than understood."""
    size = len(_HAN.findall(plain)) + 2 * len(_WORD.findall(plain))
    if points := bisect_right(_SIZES, size):
        yield Sign("length", points, 1)
    if clauses := len(_CLAUSE.findall(text)):
        yield Sign("clauses", min(clauses, 2))
    if (questions := len(_QUESTION.findall(text))) >= 2:
        yield Sign("questions", min(questions - 1, 2))
    if (numbers := len(_NUMBER.findall(text))) >= 2:
        yield Sign("numbers", 1, min(numbers - 1, 3))


def _intent(name: str, effort: int, thought: int, chinese: str, english: str) -> tuple[Sign, re.Pattern[str]]:
    """Chinese words are found anywhere, English ones as whole words."""
    return Sign(name, effort, thought), re.compile(rf"{chinese}|\b(?:{english})\b")


_HAN = re.compile(rf"[{HAN}]")
_WORD = re.compile(r"[a-z0-9]+")
_SIZES = (18, 27, 44)
"""A Chinese character counts 1, a word of other letters 2; each of these sizes that is reached is a point."""
_CLAUSE = re.compile(r"[,，;；。.!！?？…](?=\s{0,3}[^\W\d]{2})")
_QUESTION = re.compile("[?？]+")
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])\d{1,5}(?:\.\d{1,4})?(?!\d)")
"""Amounts and counts, not order numbers (6 digits and more) nor article numbers."""

_INTENTS = (
    _intent(
        "why",
        2,
        0,
        "为什么|为啥|为何|凭什么|怎么回事|怎么会|怎么这样|怎么解释|什么原因|正常吗",
        "why|how come|explain|going on|reason|understand",
    ),
    _intent(
        "compare",
        2,
        0,
        "对比|比较|区别|差在哪|哪个|哪款|哪台|哪套|性价比|选.{1,12}还是|比.{1,6}便宜",
        "compare|versus|vs|differences?|better|worth|should i (?:get|buy|choose|take)|which should",
    ),
    _intent(
        "trouble",
        2,
        0,
        "没收到|没到|没有收到|没有货|用不了|连不上|上不了|登不上|收不到|打不开|没用|没反应|不行|不对|坏|碎|破|丢了|裂|漏|发来|错了|发错"
        "|被取消|被拒|拒绝|起球|发烫|不见了|还没|没解决|没回答|等了|搞什么|异常|故障",
        "broken?|damaged|torn|leaks?|wrong|missing|never|faulty|flickers?|refused|rejected|denied|failed|wont|not working"
        "|doesnt work|stops?|stopped|waiting|lost|still not|nothing happens|thats not|not what|error",
    ),
    _intent(
        "complaint",
        2,
        0,
        "投诉|态度|差评|骗|曝光|没人|说好|承诺|凭啥|失望|垃圾",
        "complaint|complain|unacceptable|third time|nobody|rude|scam|promised|disappointed|ridiculous",
    ),
    _intent(
        "advice",
        2,
        0,
        "推荐|适合|预算|送.{1,6}礼物|怎么选|怎么挑|建议|选什么",
        "recommend|suggest|budget|gift for|looking for|ideas|advice|advise",
    ),
    _intent(
        "price", 2, 0, "降价|差价|便宜了|贵了|涨价", "price (?:dropped|drop|difference)|cheaper (?:at|on|elsewhere)"
    ),
    _intent("condition", 1, 0, "如果|要是|的话|假如|万一", "if|unless|in case"),
    _intent("contrast", 1, 0, "可是|但|明明|除了|结果|已经", "but|although|though|already|instead of|without|other"),
    _intent(
        "calculate",
        2,
        3,
        "怎么算|算一下|算算|再算|总共|一共|划算|分摊|合计|总价|值不值|怎么凑|最省|能退多少|要花多少",
        "calculate|recalculate|work out|total|altogether|cheaper|cheapest|pays? off|cost per"
        "|how much (?:do|will|would|should) i",
    ),
    _intent(
        "plan",
        2,
        3,
        "规划|方案|怎么搭配|最晚|说说理由|综合",
        "plan|combination|combine|justify|step by step|at the latest|the latest",
    ),
    _intent(
        "legal",
        2,
        4,
        "12315|消费者权益|法律|律师|起诉|退一赔|赔偿|责任|虚假宣传|工商",
        "lawyer|legal|law|sue|liable|liability|compensation|chargeback|consumer rights|court",
    ),
)
_DEED = re.compile(
    r"取消|改|退|换|查|一起发|补发|\b(?:cancel|change|return|reorder|send|find|check|refund|exchange)\b",
)
