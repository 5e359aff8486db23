"""The signature of a tool: what a function may look like whose arguments a model fills and a customer agrees to."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from string import Formatter
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What every provider takes as a tool's name."""
CUSTOMER_FIX = "take who asks as a parameter of its own, customer: Customer or customer: Customer | None"

_LANGUAGES = ("zh", "en")
_SAMPLES: dict[Any, object] = {
    str: "x",
    int: 1,
    float: 1.5,
    bool: True,
    list: [],
    dict: {},
    NoneType: None,
    Decimal: Decimal(1),
    date: date(2026, 1, 1),
    datetime: datetime(2026, 1, 1),  # noqa: DTZ001 - only its format is tried
}
_WIDE = re.compile(r"[0-9]{3}")
"""A width or precision of a hundred and more: one of a million would fill the memory."""

Arguments = Mapping[str, tuple[Any, Any]]
"""Hint and default by the parameter's name; `inspect.Parameter.empty` is no default."""


def function_fault(function: Any, name: str) -> str | None:
    """What is wrong with a function as such, and the fix."""
    if not inspect.isroutine(function):
        return f"is no function but a {type(function).__name__}: put a function there, without ()"
    description = inspect.getdoc(function)
    if not description:
        return "has no docstring: say in it what the tool does, for the model"
    if not NAME.fullmatch(name):
        return "has a name that no provider takes: use 1 to 64 of a-z, A-Z, 0-9, _ and -"
    if not is_unicode(description):
        return "has half a character (a lone surrogate) in its docstring: take it out"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "is a generator, of which a model gets nothing: return a list, without yield"
    return None


def argument_fault(name: str, hint: Any, default: Any, ours: Sequence[Any]) -> str | None:
    """What is wrong with an argument that a model is to fill, and the fix. ``ours`` are types that no model may fill."""
    if any(one in ours for one in _parts(hint)):
        return f"has a type of ours inside another, which no model may write: {CUSTOMER_FIX} (a key as key: IdempotencyKey)"
    if name.startswith("_"):
        return f"begins with an underscore, which no argument of a model can: call it {name.strip('_') or 'value'}"
    if isinstance(default, FieldInfo):
        if default.is_required() or default.default_factory is not None:
            return None
        default = default.default
    if default is inspect.Parameter.empty:
        return None
    try:
        kind: TypeAdapter[Any] = TypeAdapter(hint)
    except Exception:  # what has no schema is told of the tool as a whole
        return None
    try:
        kind.validate_python(default, strict=True)
    except Exception as error:  # a ValidationError, or whatever a validator of the user's raises
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else type(error).__name__
        fix = f"write {name}: ... | None = None" if default is None else "correct one of them"
        return f"has a default that does not fit its hint ({why}): {fix}"
    return None


def summary_fault(given: Any, arguments: Arguments) -> str | None:
    """What is wrong with what a customer is asked to agree to, and the fix."""
    if isinstance(given, Mapping):
        if not given:
            return "is empty: write a text for each language, {'zh': ..., 'en': ...}"
        if unknown := [key for key in given if key not in _LANGUAGES]:
            return f"has the language {unknown[0]!a}: there are 'zh' and 'en'"
        return next((fault for text in given.values() if (fault := _text_fault(text, arguments))), None)
    if isinstance(given, str):
        return _text_fault(given, arguments)
    if not callable(given):
        return f"is a {type(given).__name__}: write a text, texts by language, or a function of (arguments, customer)"
    if isinstance(given, type) or not takes(given, 2):
        return "does not take exactly (arguments, customer): give it these two parameters"
    if inspect.isgeneratorfunction(given) or inspect.isasyncgenfunction(given):
        return "is a generator: return a text, without yield"
    return None


def members(hint: Any) -> set[Any]:
    """The types of a union, or the type alone, without what `Annotated` adds; an object() for one that has parts."""
    if type(hint).__name__ == "TypeAliasType":  # typing's, from Python 3.12 on, or typing_extensions'
        return members(hint.__value__)
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return {one for part in get_args(hint) for one in members(part)}
    if get_origin(hint) is Literal:
        return {type(one) for one in get_args(hint)}
    return {object()} if get_args(hint) or not isinstance(hint, Hashable) else {hint}


def holds(schema: Any, kind: type) -> bool:
    """Whether a core schema of pydantic has a class of this kind anywhere, so that a value could become one."""
    seen: set[int] = set()
    left = [schema]
    while left:
        one = left.pop()
        if isinstance(one, type):
            if issubclass(one, kind):
                return True
        elif isinstance(one, Mapping | list | tuple | set | frozenset) and id(one) not in seen:
            seen.add(id(one))
            left += one.values() if isinstance(one, Mapping) else one
    return False


def takes(function: Callable[..., Any], arguments: int) -> bool:
    """Whether it can be called with so many arguments; a builtin that tells nothing is believed."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _parts(hint: Any) -> Iterator[Any]:
    """A hint and all hints in it."""
    yield hint
    for part in get_args(hint) if get_origin(hint) is not Literal else ():
        yield from _parts(part)


def _text_fault(text: Any, arguments: Arguments) -> str | None:
    if not isinstance(text, str):
        return f"has a {type(text).__name__} where a text belongs: write it in quotes"
    if not text.strip():
        return "is empty: say what the customer agrees to"
    shown = ascii(text) if len(text) <= 100 else ascii(text[:100]) + "..."
    if not is_unicode(text):
        return f"{shown} has half a character (a lone surrogate): take it out"
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        return f"{shown} cannot be filled in: {error}"
    for _, name, spec, conversion in pieces:
        if name is None:
            continue
        if name not in arguments:
            there = ", ".join(arguments) or "none"
            return f"{shown} has no argument {name!a}; there are: {there}; write a name alone in braces"
        if why := _piece_fault(arguments[name][0], spec or "", conversion):
            return f"{shown} cannot be filled in at {name}: {why}; write {{{name}}}"
    return None


def _piece_fault(hint: Any, spec: str, conversion: str | None) -> str | None:
    """Tried with a value of each type that the argument may have, where we know one."""
    if "{" in spec or _WIDE.search(spec):
        return "the format has braces, or a width of three digits"
    convert: Callable[[object, Any], object] = Formatter().convert_field
    try:
        convert("x", conversion)
        for one in members(hint):
            if one in _SAMPLES or type(one) is object:
                format(convert(_SAMPLES.get(one, one), conversion), spec)
    except (ValueError, TypeError) as error:
        return str(error)
    return None
