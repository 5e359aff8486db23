"""Checking an assistant's definition before any turn is taken: the first mistake, with its field and the fix, in one line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from forebay.schemas import SettingsError
from forebay.workers.conversations.redaction import Redactor
from forebay.workers.conversations.window import Window
from forebay.workers.models import ModelOptions

from .complexity import Complexity
from .definition import Assistant, HandOff, Specialist
from .mcp import McpServer
from .signature import is_unicode, takes
from .text import normalised
from .toolbox import ToolLimits
from .tools import Tool

MOST_TOKENS = 1_000_000
"""To write in a reply: no model writes more."""
LONGEST_CONFIRM_S = 30 * 86_400.0
"""An action that waits for longer is no longer what the customer had in mind."""

_GRADES: tuple[str, ...] = get_args(Complexity)
_LONGEST_SHOWN = 60

Rule = Callable[[str, Any], Iterator[str]]
"""Of a field's name and its value: a line ``FIELD: what is wrong; the fix`` for each mistake."""


def check(assistant: Assistant) -> None:
    """Raises SettingsError for the first mistake: ``the assistant: FIELD: what is wrong; the fix``."""
    for fault in _faults(assistant):
        # A name may hold a line break, and an error's line has to be one that every terminal prints.
        line = " ".join(fault.split()).encode(errors="backslashreplace").decode()
        raise SettingsError(f"the assistant: {line}")


def _faults(assistant: Assistant) -> Iterator[str]:
    if not isinstance(assistant, Assistant):
        yield f"{_shown(assistant)} is no Assistant; write Assistant(...)"
        return
    yield from _fields("", assistant, _ASSISTANT)
    yield from _shared_intents(assistant)


def _fields(place: str, given: object, rules: Mapping[str, Rule]) -> Iterator[str]:
    for name, rule in rules.items():
        yield from rule(f"{place}{name}", getattr(given, name))


def _text(field: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{field}: {_shown(value)} is not a text; write it in quotes"
    elif not is_unicode(value):
        yield f"{field}: {_shown(value)} holds half a character (a lone surrogate); take it out"


def _name(field: str, value: Any) -> Iterator[str]:
    yield from _text(field, value)
    if isinstance(value, str) and not value.strip():
        yield f"{field}: is empty; write a name"


def _maybe(rule: Rule) -> Rule:
    def optional(field: str, value: Any) -> Iterator[str]:
        return iter(()) if value is None else rule(field, value)

    return optional


def _whole(least: int, most: float = math.inf) -> Rule:
    def whole(field: str, value: Any) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{field}: {_shown(value)} is not a whole number; write one {_range(least, most)}"
        elif not least <= value <= most:
            yield f"{field}: {_shown(value)} is out of range; write a whole number {_range(least, most)}"

    return whole


def _number(least: float, most: float = math.inf, *, above: bool = False) -> Rule:
    """``above``: the least itself is refused."""

    def number(field: str, value: Any) -> Iterator[str]:
        fix = f"write a number {'above' if above else 'from'} {_range(least, most).removeprefix('from ')}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{field}: {_shown(value)} is not a number; {fix}"
        elif not (least <= value <= most and value != math.inf) or (above and value == least):
            yield f"{field}: {_shown(value)} is out of range; {fix}"

    return number


def _yes_or_no(field: str, value: Any) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{field}: {_shown(value)} is neither True nor False; write one of them"


def _tuple(rule: Rule, example: str) -> Rule:
    def each(field: str, value: Any) -> Iterator[str]:
        if not isinstance(value, tuple):
            yield f"{field}: {_shown(value)} is not a tuple; write {field.rpartition('.')[2]}=({example},), with the comma"
            return
        for at, one in enumerate(value):
            yield from rule(f"{field}[{at}]", one)

    return each


def _by_name(keys: Rule, values: Rule, example: str) -> Rule:
    def each(field: str, value: Any) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{field}: {_shown(value)} is not a mapping; write {field}={{{example}}}"
            return
        for key, one in value.items():
            yield from keys(field, key)
            yield from values(f"{field}[{_shown(key)}]", one)

    return each


def _grade(field: str, value: Any) -> Iterator[str]:
    if value not in _GRADES:
        yield f"{field}: there is no grade {_shown(value)}; write one of {', '.join(map(repr, _GRADES))}"


def _plain_function(argument: str) -> Rule:
    """Of one argument, and called where nothing can be awaited."""

    def function(field: str, value: Any) -> Iterator[str]:
        fix = f"make it a plain function of one argument, the {argument}"
        if not callable(value):
            yield f"{field}: {_shown(value)} cannot be called; {fix}"
        elif _is_deferred(value) or _is_deferred(getattr(type(value), "__call__", None)):  # noqa: B004
            yield f"{field}: is async or a generator, and it is called plainly; {fix}"
        elif not takes(value, 1):
            yield f"{field}: cannot be called with one argument; {fix}"

    return function


def _of(kind: type, rules: Mapping[str, Rule], fix: str = "") -> Rule:
    def value_of(field: str, value: Any) -> Iterator[str]:
        if isinstance(value, kind):
            yield from _fields(f"{field}.", value, rules)
        else:
            yield f"{field}: {_shown(value)} is no {kind.__name__}; write {fix or f'{kind.__name__}(...)'}"

    return value_of


def _file(field: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str | Path):
        yield f"{field}: {_shown(value)} is not a path; write the path of a YAML file in quotes"
    elif not str(value).strip() or "\0" in str(value) or not is_unicode(str(value)):
        yield f"{field}: {_shown(str(value))} cannot be a file's name; write the path of a YAML file, or None"


def _source(field: str, value: Any) -> Iterator[str]:
    if not (isinstance(value, McpServer | Tool) or inspect.isroutine(value)):
        yield f"{field}: {_shown(value)} is no function; put a function there, without (), or an McpServer"


def _shared_intents(assistant: Assistant) -> Iterator[str]:
    owners: dict[str, str] = {}
    for at, specialist in enumerate(assistant.specialists):
        for intent in specialist.intents:
            word = normalised(intent)
            # That two have one name is a mistake of its own, which `Routing` tells.
            owner = owners.setdefault(word, specialist.name) if word else specialist.name
            if owner != specialist.name:
                shared = f"{_shown(intent)} is also an intent of {_shown(owner)}"
                yield f"specialists[{at}].intents: {shared}; leave it to one of them"


def _is_deferred(function: Any) -> bool:
    """Whether a call runs nothing yet."""
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return any(is_one(function) for is_one in kinds)


def _range(least: float, most: float) -> str:
    return f"from {least:,}" + (f" to {most:,.0f}" if most != math.inf else "")


def _shown(value: object) -> str:
    """A value as an error names it: short, and never by a ``repr`` of the user's, which may fail."""
    if value is None or type(value) in (bool, float, str):
        text = repr(value)
    elif type(value) is int:
        text = repr(value) if value.bit_length() < 200 else "a huge number"
    elif type(value) in (list, tuple, dict, set):
        text = f"a {type(value).__name__}"
    elif inspect.isroutine(value) or isinstance(value, type):
        text = f"the {'class' if isinstance(value, type) else 'function'} {getattr(value, '__name__', '?')}"
    else:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


_SECONDS = _number(0, above=True)
_SOURCES = _tuple(_source, "get_stock")
_OPTIONS: dict[str, Rule] = {
    "max_tokens": _maybe(_whole(1, MOST_TOKENS)),
    "temperature": _maybe(_number(0, 2)),
    "top_p": _maybe(_number(0, 1)),
    "call_s": _maybe(_SECONDS),
    "first_token_s": _maybe(_SECONDS),
}
_WINDOW: dict[str, Rule] = {
    "exchanges": _whole(1),
    "tokens": _whole(1),
    "share": _number(0, 1, above=True),
    "block": _whole(1),
    "summarise": _yes_or_no,
    "summary_model": _maybe(_name),
}
_LIMITS: dict[str, Rule] = {"rounds": _whole(0), "calls": _whole(0), "seconds": _number(0), "result_bytes": _whole(0)}
_HAND_OFF: dict[str, Rule] = {
    "on_request": _yes_or_no,
    "by_model": _yes_or_no,
    "after_failures": _whole(0),
    "when": _maybe(_plain_function("turn")),
}
_SPECIALIST: dict[str, Rule] = {
    # An empty name is refused by `Routing`, with the names that routes have.
    "name": _text,
    "instructions": _text,
    "intents": _tuple(_text, "'parcel'"),
    "tools": _SOURCES,
    "model": _maybe(_name),
}
_ASSISTANT: dict[str, Rule] = {
    "instructions": _text,
    "model": _maybe(_name),
    "models": _by_name(_grade, _name, "'complex': 'a model'"),
    "complexity": _plain_function("signals"),
    "fallbacks": _tuple(_name, "'a model'"),
    "options": _by_name(_name, _of(ModelOptions, _OPTIONS), "'a model': ModelOptions(...)"),
    "max_tokens": _whole(1, MOST_TOKENS),
    "window": _of(Window, _WINDOW),
    "redaction": _maybe(_of(Redactor, {}, "Redactor(), or None to hide nothing")),
    "faq": _maybe(_file),
    "specialists": _tuple(_of(Specialist, _SPECIALIST), "Specialist(...)"),
    "tools": _SOURCES,
    "tool_limits": _of(ToolLimits, _LIMITS),
    "confirm_s": _number(0, LONGEST_CONFIRM_S, above=True),
    "hand_off": _maybe(_of(HandOff, _HAND_OFF, "HandOff()")),
    "last_resort": _maybe(_plain_function("turn")),
}
