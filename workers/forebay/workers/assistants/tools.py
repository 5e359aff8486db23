"""Tools: plain functions with type hints and docstrings that a model may ask for."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import NoneType
from typing import Annotated, Any, NewType, get_args, get_origin, get_type_hints, overload

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from forebay.schemas import SettingsError
from forebay.workers.models import ToolSpec

from .signature import CUSTOMER_FIX, NAME, argument_fault, function_fault, holds, members, summary_fault
from .text import in_chinese
from .threads import in_thread

IdempotencyKey = NewType("IdempotencyKey", str)
"""A parameter of this type is given the same key whenever the same action is run again after a crash."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A parameter of this type is given who is asking: from the turn, never from what a model wrote."""

    user_id: str
    tenant: str | None
    conversation_id: str
    attributes: Mapping[str, JsonValue] = field(default_factory=dict)


class ToolError(Exception):
    """Raised by a tool, its message is told to the model; of any other exception the model learns only that there was one."""


Arguments = dict[str, Any]
Summary = str | Mapping[str, str] | Callable[..., Any]
"""A text with the arguments in braces, one for each language (``{"zh": ..., "en": ...}``), or a function of the arguments and
the customer, which may raise ToolError where the customer need not be asked at all."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the worker runs it."""

    spec: ToolSpec
    check: Callable[[str], Arguments]
    """From the JSON that a model wrote to arguments. Raises ToolError with what is wrong."""
    run: Callable[[Arguments, Customer | None, IdempotencyKey | None], Awaitable[object]]
    confirm: bool = False
    """Whether the customer has to agree before it runs."""
    summary: Callable[[Arguments, Customer | None, str], Awaitable[str]] | None = None
    """What the customer is asked to agree to, in the language of a text of theirs. Raises ToolError for what cannot be."""
    needs_customer: bool = False
    takes_key: bool = False
    read_only: bool = False
    """Whether it changes nothing: then an answer may be broken off after it, and begun anew."""

    @property
    def name(self) -> str:
        """As the model knows it."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class _Marks:
    confirm: bool = False
    summary: Summary | None = None
    read_only: bool = False


Function = Callable[..., Any]


@overload
def tool(function: Function, /) -> Function: ...
@overload
def tool(
    *, confirm: bool = False, summary: Summary | None = None, read_only: bool = False
) -> Callable[[Function], Function]: ...
def tool(
    function: Function | None = None,
    /,
    *,
    confirm: bool = False,
    summary: Summary | None = None,
    read_only: bool = False,
) -> Function | Callable[[Function], Function]:
    """Marks a function that needs the customer's word before it runs, or that only reads. Others need no mark.

    ``summary`` says what the customer agrees to, such as ``"Cancel order {order_id}"``: see `Summary`. What is ``read_only``
    changes nothing: a customer who writes again may break off the answer after it (``"when_busy": "interrupt"``).
    """
    if function is not None:
        return function

    def mark(marked: Function) -> Function:
        marked.__forebay_tool__ = _Marks(confirm, summary, read_only)  # type: ignore[attr-defined]
        return marked

    return mark


def read_tool(function: Function) -> Tool:
    """The tool that a function is. Raises SettingsError with the place and the fix."""
    name, where = str(getattr(function, "__name__", "?")), place(function)
    what = f"{where}: the tool {name if NAME.fullmatch(name) else ascii(name)}"
    if fault := function_fault(function, name):
        raise SettingsError(f"{what} {fault}")
    marks = _marks(function, what)
    hints, customer, optional, key = _parameters(function, name, where)
    if key is not None and not marks.confirm:
        raise SettingsError(f"{what} takes an IdempotencyKey, which only confirm=True has: mark it so")
    for parameter, (hint, default) in hints.items():
        if fault := argument_fault(parameter, hint, default, (Customer, IdempotencyKey)):
            raise SettingsError(f"{what}: its parameter {parameter} {fault}")
    if marks.summary is not None and (fault := summary_fault(marks.summary, hints)):
        raise SettingsError(f"{what}: its summary {fault}")
    fields: dict[str, Any] = {
        # Under a name that is none of BaseModel's own: a parameter may be called `schema` or `copy`.
        _FIELD + parameter: (Annotated[_described(hint), Field(alias=parameter)], ... if default is _NONE else default)
        for parameter, (hint, default) in hints.items()
    }
    try:
        arguments = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        schema = arguments.model_json_schema(schema_generator=_Schema)
        schema.pop("title", None)
        for described in schema.get("properties", {}).values():
            described.pop("title", None)
        written = orjson.dumps(schema).decode()
    except Exception as error:  # the hints are the user's: whatever pydantic says of them is theirs to read
        raise SettingsError(f"{what}: {str(error).strip().splitlines()[0]}") from None
    if holds(arguments.__pydantic_core_schema__, Customer):
        raise SettingsError(f"{what}: an argument holds a Customer, which no model may write: {CUSTOMER_FIX}")
    return Tool(
        ToolSpec(name, inspect.getdoc(function) or "", written),
        partial(_check, arguments),
        partial(_run, function, customer, key),
        marks.confirm,
        None if marks.summary is None else _summary(marks.summary),
        customer is not None and not optional,
        key is not None,
        marks.read_only,
    )


def _marks(function: Function, what: str) -> _Marks:
    marks: _Marks = getattr(function, "__forebay_tool__", _Marks())
    if marks.confirm and marks.summary is None:
        raise SettingsError(f"{what} has confirm=True and no summary: say what the customer agrees to")
    if marks.confirm and marks.read_only:
        raise SettingsError(f"{what} has confirm=True and read_only=True: what changes nothing needs no confirmation")
    return marks


Hints = dict[str, tuple[Any, Any]]
"""Hint and default by the parameter's name."""


def place(function: object) -> str:
    """Where a function is defined, as ``module:line``."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}:{code.co_firstlineno}" if code else str(module)


def _parameters(function: Function, name: str, where: str) -> tuple[Hints, str | None, bool, str | None]:
    """(the model's arguments, the customer's parameter, whether that is optional, the key's parameter)."""
    what = f"{where}: the tool {name}"
    try:
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
    except Exception as error:
        raise SettingsError(f"{what}: its type hints cannot be read: {error}") from None
    arguments: Hints = {}
    customer, optional, key = None, False, None
    given: set[Any] = set()
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise SettingsError(f"{what}: *{parameter.name} cannot be described to a model: name each one")
        if parameter.name not in hints:
            fix = f"{parameter.name}: str"
            raise SettingsError(f"{what}: its parameter {parameter.name} has no type hint: write {fix}")
        kinds = members(hints[parameter.name])
        if twice := next((one for one in (Customer, IdempotencyKey) if one in kinds and one in given), None):
            raise SettingsError(f"{what}: {parameter.name} is its second {twice.__name__}: leave one of them out")
        given.update(kinds)
        if kinds <= {Customer, NoneType} and Customer in kinds:
            customer, optional = parameter.name, NoneType in kinds
        elif kinds <= {IdempotencyKey, NoneType} and IdempotencyKey in kinds:
            key = parameter.name
        else:
            arguments[parameter.name] = hints[parameter.name], parameter.default
    return arguments, customer, optional, key


_FIELD = "argument_"
_NONE = inspect.Parameter.empty


class _Schema(GenerateJsonSchema):
    """Says nothing of a default that JSON has no word for, in the schema or on the terminal."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012


def _described(hint: Any) -> Any:
    """``Annotated[str, "what it is"]`` becomes a description in the schema."""
    if get_origin(hint) is not Annotated:
        return hint
    bare, *notes = get_args(hint)
    fields = [Field(description=note) if isinstance(note, str) else note for note in notes]
    return Annotated[(bare, *fields)]


def _check(arguments: type[BaseModel], given: str) -> Arguments:
    try:
        found = arguments.model_validate_json(given or "{}")
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in error.errors()[:5]
        )
        raise ToolError(f"wrong arguments: {wrong}") from None
    return {name.removeprefix(_FIELD): getattr(found, name) for name in arguments.model_fields}


async def _run(
    function: Function,
    customer_name: str | None,
    key_name: str | None,
    arguments: Arguments,
    customer: Customer | None,
    key: IdempotencyKey | None,
) -> object:
    given = dict(arguments)
    if customer_name is not None:
        given[customer_name] = customer
    if key_name is not None:
        given[key_name] = key
    if inspect.iscoroutinefunction(function):
        return await function(**given)
    return await in_thread(function, **given)


def _summary(given: Summary) -> Callable[[Arguments, Customer | None, str], Awaitable[str]]:
    texts = {"": given} if isinstance(given, str) else given
    if not isinstance(texts, Mapping):
        function = texts

        async def ask(arguments: Arguments, customer: Customer | None, _: str) -> Any:
            if inspect.iscoroutinefunction(function):
                return await function(arguments, customer)
            return await in_thread(function, arguments, customer)

        return ask
    written = dict(texts)

    async def fill(arguments: Arguments, _: Customer | None, said: str) -> str:
        language = "zh" if in_chinese(said) else "en"
        return written.get(language, next(iter(written.values()))).format(**arguments)

    return fill
