"""A FAQ: questions that an author has answered once and for all, matched without a model. Pure.

A customer's text gets an entry's answer when, after ``normalised`` and ``without_courtesy``,

- it is one of the entry's phrases, or one of its patterns matches all of it; or
- nothing of weight in it is new to the entry: each of its words, or Chinese characters, is in one of the phrases;
- it turns where the best phrase turns: both have the same negations, "why", "but", "if" and the same numbers;
- it and that phrase share ``ENOUGH`` of their weight, each seen from its own side; the score is the smaller share;
- no other entry scores within ``_MARGIN``.

A wrong answer is worse than a model call, so every doubt ends in none. docs/routing.md has the figures.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .faq_entries import MAX_TEXT, FaqEntry, read_entries
from .faq_phrase import ENOUGH, Phrase, read_phrase, score
from .text import in_chinese, normalised

_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class FaqAnswer:
    """The answer and the entry it comes from."""

    id: str
    text: str


class Faq:
    """All entries, ready to be asked."""

    def __init__(self, entries: Iterable[FaqEntry] = ()) -> None:
        self._entries = tuple(entries)
        self._exact: dict[str, int] = {}
        self._phrases: list[list[Phrase]] = []
        self._mentioning: defaultdict[str, set[int]] = defaultdict(set)
        self._patterns = [
            (re.compile(pattern, re.IGNORECASE), number)
            for number, entry in enumerate(self._entries)
            for pattern in entry.patterns
        ]
        for number, entry in enumerate(self._entries):
            self._phrases.append([read_phrase(phrase) for phrase in entry.phrases])
            for phrase in self._phrases[number]:
                self._exact[phrase.key] = number
                for sign in phrase.content:
                    self._mentioning[sign].add(number)
        self._without = [tuple(map(normalised, entry.without)) for entry in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    @classmethod
    def parse(cls, text: str, source: str) -> Faq:
        """The entries of a YAML file; ``source`` is its name in errors. Raises SettingsError with one line for each."""
        return cls(read_entries(text, source))

    def answer(self, text: str) -> FaqAnswer | None:
        """The one entry that answers this text, if there is one without doubt."""
        if len(text) > MAX_TEXT:
            return None
        plain = normalised(text)
        asked = Phrase.of(plain)
        if not asked.key or len(plain) > MAX_TEXT:
            return None
        number = self._exact.get(asked.key)
        if number is None:
            number = self._only(plain, asked)
        if number is None or _mentions(plain, self._without[number]):
            return None
        answers = self._entries[number].answer
        words = answers.get("any") or answers.get("zh" if in_chinese(text) else "en")
        return FaqAnswer(self._entries[number].id, words) if words else None

    def _only(self, plain: str, asked: Phrase) -> int | None:
        """The entry that is enough like the text and clearly more so than any other."""
        scores = {number: 1.0 for pattern, number in self._patterns if pattern.fullmatch(plain)}
        scores |= {number: 1.0 for pattern, number in self._patterns if pattern.fullmatch(asked.key)}
        # One word alone is a subject, not a question.
        for number in self._knowing(asked.content) if len(asked.units) > 1 else ():
            scores[number] = max(scores.get(number, 0.0), *(score(asked, phrase) for phrase in self._phrases[number]))
        if not scores:
            return None
        best = max(scores, key=scores.__getitem__)
        rival = max((found for number, found in scores.items() if number != best), default=0.0)
        return best if scores[best] >= ENOUGH and scores[best] - rival >= _MARGIN else None

    def _knowing(self, content: frozenset[str]) -> set[int]:
        """The entries to which nothing in the text is new."""
        found = sorted((self._mentioning.get(sign, set()) for sign in content), key=len)
        return found[0].intersection(*found[1:]) if found else set()


def _mentions(plain: str, words: tuple[str, ...]) -> bool:
    """Whether any of these is in the text: as whole words, or anywhere in Chinese."""
    spaced = f" {plain} "
    return any((word if in_chinese(word) else f" {word} ") in spaced for word in words)
