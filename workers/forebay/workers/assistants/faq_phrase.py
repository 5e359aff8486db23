"""Phrases of a FAQ, and customers' texts, as they are compared with each other. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from .text import HAN, normalised, without_courtesy

ENOUGH = 0.75
"""The share of their weight that a text and a phrase must have in common."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is compared of an entry's phrase, or of a customer's text."""

    key: str
    units: frozenset[str]
    """Words, and pairs of neighbouring Chinese characters."""
    weight: float
    """Sum of the units' weights."""
    content: frozenset[str]
    """Words and Chinese characters that name a thing, a deed or what is asked for."""
    turns: frozenset[str]
    """What turns a question into another: negations, why, but, if, numbers."""

    @classmethod
    def of(cls, plain: str) -> Phrase:
        key = _SPACE_BETWEEN_HAN.sub("", without_courtesy(plain))
        units: set[str] = set()
        content: set[str] = set()
        turns = set(_TURNS.findall(key))
        for run in key.split():
            if _HAN.match(run):
                told = [char for char in run if char not in _EMPTY]
                units.update(map("".join, pairwise(told)) if len(told) > 1 else told)
                content.update(char for char in told if _weight(char) >= _ASKS_FOR)
            elif run not in _EMPTY:
                word = _singular(run)
                units.add(word)
                if word in _TURNING or any(map(str.isdigit, word)):
                    turns.add(word)
                if _weight(word) >= _ASKS_FOR:
                    content.add(word)
        return cls(key, frozenset(units), sum(map(_weight, units)), frozenset(content), frozenset(turns))


@lru_cache(maxsize=10_000)
def read_phrase(phrase: str) -> Phrase:
    """Read once, and not again when the file changes elsewhere."""
    return Phrase.of(normalised(phrase))


def score(asked: Phrase, phrase: Phrase) -> float:
    """The smaller share, of the text in the phrase or of the phrase in the text, 0 to 1."""
    heavier = max(asked.weight, phrase.weight)
    if min(asked.weight, phrase.weight) < ENOUGH * heavier or asked.turns != phrase.turns:
        return 0.0
    return sum(map(_weight, asked.units & phrase.units)) / heavier


def _weight(unit: str) -> float:
    """1 for a word of content, less for the words around it; a pair of Chinese characters weighs as the lighter one."""
    if _HAN.match(unit):
        return min(_LIGHT.get(char, 1.0) for char in unit)
    return _LIGHT.get(unit, 1.0)


def _singular(word: str) -> str:
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss") and word not in _LIGHT:
        return word[:-1]
    return word


_HAN = re.compile(rf"[{HAN}]")
_SPACE_BETWEEN_HAN = re.compile(rf"(?<=[{HAN}]) (?=[{HAN}])")

_TURNS = re.compile(
    "[不没未]|无法|为[什何啥]|凭什么|怎么[还会又]|除了|但是?|可是|已经|如果|要是|对比|区别|上次|去年|昨天|结果"
)


def _words(chinese: str, english: str) -> frozenset[str]:
    return frozenset(chinese) | frozenset(english.split())


_TURNING = _words(
    "",
    """no not never none nothing without cannot cant dont doesnt didnt wont isnt arent wasnt werent hasnt havent couldnt
    why but although if unless except instead than versus vs after before since already again only yesterday last compare""",
)
_EMPTY = _words(
    "我你您他她它们咱的了着是有在也都就才再很太真好想要能可以会这那个请",
    """i me my mine we us our ours you your yours it its this that these those a an the is are am was were be been do does
    did can could will would shall should may might must have has had to of so just""",
)
"""Words of grammar: not compared at all."""
_ASKS_FOR = 0.5
_LIGHT = {
    word: weight
    for weight, words in {
        0.25: _words(
            "让把给对和跟与或到去来用些家里上下还一现操作支持",
            """for in on at by with and or some any there here need want like get got take offer usually going know tell help
            wondering question ask about""",
        ),
        0.4: _words("怎么样什如何时候天间", "how what whats time"),
        _ASKS_FOR: _words("多久哪几谁少", "when where who which long much many"),
    }.items()
    for word in words
}
"""Weights below 1: words that customers put around what they ask, words of asking anything, words of asking for a thing.

From ``_ASKS_FOR`` on a word is content: "which items can I return" is not "how can I return an item".
"""
