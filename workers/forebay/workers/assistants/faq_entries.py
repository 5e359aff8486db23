"""Entries of a FAQ as an author writes them: read from YAML, and checked before any customer is answered by them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from forebay.schemas import SettingsError

from .faq_phrase import read_phrase
from .text import normalised

MAX_TEXT = 200
"""Characters; a longer text is never a frequent question, and an author's pattern sees no more than this."""

_DEEPEST = 20
_MOST_WRONG = 50

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C reads 200 entries in a tenth of the time; not every machine has it."""

_Language = Literal["zh", "en", "any"]


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


def read_entries(text: str, source: str) -> list[FaqEntry]:
    """The entries of a YAML text; ``source`` is its name in errors. Raises SettingsError with one line for each."""
    try:
        given = _loaded(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise SettingsError(f"{source}: is not YAML: {where}") from None
    if given is None:
        return []
    if not isinstance(given, list):
        raise SettingsError(f"{source}: write a list of entries, each beginning with '- id:'")
    entries, wrong = _entries(given)
    wrong += _doubles(entries)
    if wrong:
        raise SettingsError("\n".join(f"{source}: {line}" for line in wrong))
    return entries


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
        if not read_phrase(phrase).key:
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
            owner = owners.setdefault(read_phrase(phrase).key, entry.id)
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


_LITERAL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_REPEAT = re.compile(r"[*+]|\{\d*,?\d*\}")
_OPTIONAL = re.compile(r"(?<![(*+}?])\?")
_LONG_NUMBER = re.compile(r"[-+0-9_:.]{200,}")
_MAX_REPEATS = 3
_MAX_CHOICES = 12
