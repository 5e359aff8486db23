"""FAQ: questions that an author has answered once and for all, matched without a model.

A customer's text gets an entry's answer when, after ``normalised`` and ``without_courtesy``,

- it is one of the entry's phrases, or one of its patterns matches all of it; or
- nothing of weight in it is new to the entry: each of its words, or Chinese characters, is in one of the phrases;
- it turns where the best phrase turns: both have the same negations, "why", "but", "if" and the same numbers;
- it and that phrase share ``_ENOUGH`` of their weight, each seen from its own side; the score is the smaller share;
- no other entry scores within ``_MARGIN``.

A wrong answer is worse than a model call, so every doubt ends in none. docs/routing.md has the figures.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from forebay.schemas import SettingsError

from .text import HAN, in_chinese, normalised, without_courtesy

MAX_TEXT = 200
"""Characters; a longer text is never a frequent question, and an author's pattern sees no more than this."""
LOOK_EVERY_S = 1.0
"""A file is looked at for changes at most this often."""

MAX_BYTES = 1_000_000
"""Of a file: it is read in the event loop, which has turns to serve."""
_LONGEST_LOGGED = 500
_DEEPEST = 20
_MOST_WRONG = 50

_ENOUGH = 0.75
_MARGIN = 0.1

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C reads 200 entries in a tenth of the time; not every machine has it."""

_Language = Literal["zh", "en", "any"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FaqAnswer:
    """The answer and the entry it comes from."""

    id: str
    text: str


class FaqEntry(BaseModel):
    """One entry as its author writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    phrases: tuple[str, ...] = ()
    """How customers ask, in any language; the more different wordings, the more is recognised."""
    patterns: tuple[str, ...] = ()
    """Regular expressions for a whole normalised text."""
    answer: dict[_Language, str]
    """One text for all, or one for each of ``zh`` and ``en``; a customer of a language that is missing gets none."""
    without: tuple[str, ...] = Field(default=(), alias="not")
    """Words that forbid this entry."""

    @field_validator("answer", mode="before")
    @classmethod
    def _one_or_each(cls, given: Any) -> Any:
        texts = {"any": given} if isinstance(given, str) else given
        if not isinstance(texts, dict) or not texts or (isinstance(given, dict) and not given.keys() <= {"zh", "en"}):
            raise ValueError("write one text, or texts under zh: and en:")
        if not all(isinstance(text, str) and text.strip() for text in texts.values()):
            raise ValueError("a text is empty or not a text: write it, in quotes if it looks like a number")
        return texts


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is compared, of a phrase or of a customer's text."""

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
    def of(cls, plain: str) -> _Asked:
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
def _read_phrase(phrase: str) -> _Asked:
    """Read once, and not again when the file changes elsewhere."""
    return _Asked.of(normalised(phrase))


class Faq:
    """All entries, ready to be asked."""

    def __init__(self, entries: Iterable[FaqEntry] = ()) -> None:
        self._entries = tuple(entries)
        self._exact: dict[str, int] = {}
        self._phrases: list[list[_Asked]] = []
        self._mentioning: defaultdict[str, set[int]] = defaultdict(set)
        self._patterns = [
            (re.compile(pattern, re.IGNORECASE), number)
            for number, entry in enumerate(self._entries)
            for pattern in entry.patterns
        ]
        for number, entry in enumerate(self._entries):
            self._phrases.append([_read_phrase(phrase) for phrase in entry.phrases])
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
        try:
            given = _loaded(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            where = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
            raise SettingsError(f"{source}: is not YAML: {where}") from None
        if given is None:
            return cls()
        if not isinstance(given, list):
            raise SettingsError(f"{source}: write a list of entries, each beginning with '- id:'")
        entries, wrong = _entries(given)
        wrong += _doubles(entries)
        if wrong:
            raise SettingsError("\n".join(f"{source}: {line}" for line in wrong))
        return cls(entries)

    def answer(self, text: str) -> FaqAnswer | None:
        """The one entry that answers this text, if there is one without doubt."""
        if len(text) > MAX_TEXT:
            return None
        plain = normalised(text)
        asked = _Asked.of(plain)
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

    def _only(self, plain: str, asked: _Asked) -> int | None:
        """The entry that is enough like the text and clearly more so than any other."""
        scores = {number: 1.0 for pattern, number in self._patterns if pattern.fullmatch(plain)}
        scores |= {number: 1.0 for pattern, number in self._patterns if pattern.fullmatch(asked.key)}
        # One word alone is a subject, not a question.
        for number in self._knowing(asked.content) if len(asked.units) > 1 else ():
            scores[number] = max(scores.get(number, 0.0), *(_score(asked, phrase) for phrase in self._phrases[number]))
        if not scores:
            return None
        best = max(scores, key=scores.__getitem__)
        rival = max((score for number, score in scores.items() if number != best), default=0.0)
        return best if scores[best] >= _ENOUGH and scores[best] - rival >= _MARGIN else None

    def _knowing(self, content: frozenset[str]) -> set[int]:
        """The entries to which nothing in the text is new."""
        found = sorted((self._mentioning.get(sign, set()) for sign in content), key=len)
        return found[0].intersection(*found[1:]) if found else set()


class FaqFile:
    """A FAQ that follows its file. A broken new version is logged once, and the answers stay as they were."""

    def __init__(self, path: Path, now: float) -> None:
        """``now`` is in seconds of any steady clock. Raises SettingsError."""
        self._path = path
        self._looked = now
        self._version = self._seen()
        self._faq = self._read()

    def current(self, now: float) -> Faq:
        """The answers as of now."""
        if now - self._looked < LOOK_EVERY_S:
            return self._faq
        self._looked = now
        # The version is taken first: what changes while the file is read is seen at the next look.
        version = self._seen()
        if version == self._version:
            return self._faq
        self._version = version
        try:
            self._faq = self._read()
        except SettingsError as error:
            log.error("faq.broken", error=_cut(str(error)), kept=len(self._faq))
        else:
            log.info("faq.loaded", path=str(self._path), entries=len(self._faq))
        return self._faq

    def _seen(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> Faq:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            text = data.decode() if len(data) <= MAX_BYTES else None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self._path}: cannot be read as UTF-8 text: {error}") from None
        if text is None:
            raise SettingsError(f"{self._path}: is larger than {MAX_BYTES:,} bytes; keep only what is asked often")
        return Faq.parse(text, str(self._path))


def _loaded(text: str) -> Any:
    """What a YAML text says. Raises YAMLError, also for what would take for ever to read or end the process: aliases, of
    which a few lines can mean gigabytes, and lists in lists without end.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if problem := _event_fault(event, depth):
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - both loaders are safe ones


def _event_fault(event: yaml.Event, depth: int) -> str | None:
    if isinstance(event, yaml.AliasEvent):
        return f"aliases are not taken; write out what *{event.anchor} repeats"
    if depth > _DEEPEST:
        return f"lists and mappings in {_DEEPEST} others; an entry needs three"
    if isinstance(event, yaml.ScalarEvent) and _LONG_NUMBER.fullmatch(event.value):
        return "a number without end; put it in quotes, with words"  # 1:1:1... is one of base 60: minutes to read
    return None


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_LOGGED else text[: _LONGEST_LOGGED - 3] + "..."


def _score(asked: _Asked, phrase: _Asked) -> float:
    """The smaller share, of the text in the phrase or of the phrase in the text, 0 to 1."""
    heavier = max(asked.weight, phrase.weight)
    if min(asked.weight, phrase.weight) < _ENOUGH * heavier or asked.turns != phrase.turns:
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


def _mentions(plain: str, words: tuple[str, ...]) -> bool:
    """Whether any of these is in the text: as whole words, or anywhere in Chinese."""
    spaced = f" {plain} "
    return any((word if in_chinese(word) else f" {word} ") in spaced for word in words)


def _entries(given: list[Any]) -> tuple[list[FaqEntry], list[str]]:
    """What is right, and a line for each thing that is wrong."""
    entries: list[FaqEntry] = []
    wrong: list[str] = []
    for number, raw in enumerate(given, 1):
        if len(wrong) >= _MOST_WRONG:
            wrong.append("and perhaps more: correct these first")
            break
        name = f"entry {raw['id']}" if isinstance(raw, dict) and raw.get("id") else f"entry number {number}"
        try:
            entry = FaqEntry.model_validate(raw)
        except ValidationError as error:
            wrong += (f"{name}: {_explain(dict(detail))}" for detail in error.errors())
        else:
            entries.append(entry)
            wrong += (f"{name}: {line}" for line in _faults(entry))
    return entries, wrong


def _faults(entry: FaqEntry) -> Iterator[str]:
    if not entry.phrases and not entry.patterns:
        yield "phrases: none; write at least one, as customers ask it"
    for phrase in entry.phrases:
        if not _read_phrase(phrase).key:
            yield f"phrases: {phrase!r} is empty but for courtesy; write what is asked, or take it out"
        elif len(phrase) > MAX_TEXT:
            yield f"phrases: {phrase[:20]!r}... is longer than {MAX_TEXT} characters, which no text that is matched can be"
    for word in entry.without:
        if not normalised(word):
            yield f"not: {word!r} has no letter or digit; take it out"
    for pattern in entry.patterns:
        if fault := _pattern_fault(pattern):
            yield f"patterns: {pattern!r} {fault}"


def _pattern_fault(pattern: str) -> str | None:
    """What is wrong with a pattern. Repeats of groups and many repeats are refused: they can take for ever to fail."""
    try:
        re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {error}"
    bare = _LITERAL.sub("x", pattern)
    if _REPEATED_GROUP.search(bare):
        return "repeats a group, which can take for ever to fail; repeat single characters or classes, or write two patterns"
    if len(_REPEAT.findall(bare)) > _MAX_REPEATS or len(pattern) > MAX_TEXT:
        return f"is too long or has more than {_MAX_REPEATS} repeats; write several patterns"
    if _OPTIONAL.subn("", bare)[1] + bare.count("|") > _MAX_CHOICES:
        return f"has more than {_MAX_CHOICES} choices (| and ?); write several patterns"
    return None


def _doubles(entries: list[FaqEntry]) -> Iterator[str]:
    """Ids and phrases that two entries share."""
    ids: set[str] = set()
    owners: dict[str, str] = {}
    for entry in entries:
        if entry.id in ids:
            yield f"entry {entry.id}: id: is taken by an earlier entry; give it another, or make them one"
        ids.add(entry.id)
        for phrase in entry.phrases:
            owner = owners.setdefault(_read_phrase(phrase).key, entry.id)
            if owner != entry.id:
                yield f"entry {entry.id}: phrases: {phrase!r} is also a phrase of {owner}; leave it to one of them"


def _explain(detail: dict[str, Any]) -> str:
    field = str(detail["loc"][0]) if detail["loc"] else ""
    rule = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{field}: is not known; there are id, phrases, patterns, answer and not"
    if detail["type"] == "missing":
        return f"{field}: is missing"
    if detail["type"] == "string_type":
        rule = f"{detail['input']!r} is not a text; put it in quotes"
    elif detail["type"] == "tuple_type":
        rule = f"{detail['input']!r} is not a list; write [one, two] or a line with '- ' for each"
    elif detail["type"] == "model_type":
        rule = "write 'id:', 'phrases:' and 'answer:' under it"
    return f"{field}: {rule}" if field else rule


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

_LITERAL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_REPEAT = re.compile(r"[*+]|\{\d*,?\d*\}")
_OPTIONAL = re.compile(r"(?<![(*+}?])\?")
_LONG_NUMBER = re.compile(r"[-+0-9_:.]{200,}")
_MAX_REPEATS = 3
_MAX_CHOICES = 12
