"""A tool of an MCP server as the worker's own kind of tool."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from string import Formatter
from typing import Any

import mcp_types as types
import orjson
from jsonschema import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry

from forebay.schemas import SettingsError
from forebay.workers.assistants.text import in_chinese
from forebay.workers.assistants.tools import Arguments, Customer, IdempotencyKey, Tool, ToolError
from forebay.workers.models import ToolSpec

from .server import McpServer
from .session import LostCall

Call = Callable[[str, dict[str, Any]], Awaitable[types.CallToolResult]]
"""Calls a tool by the server's name for it. Raises ToolError or LostCall."""
Summary = Callable[[Arguments, Customer | None, str], Awaitable[str]]

_LONGEST_NAME = 64
"""That all models take."""
_LONGEST_FAULT = 300


def read_tools(server: McpServer, listed: Sequence[types.Tool], call: Call) -> tuple[Tool, ...]:
    """The tools to take of those that a server has. Raises SettingsError with the fix."""
    known = {tool.name: tool for tool in listed}
    for setting, names in (("only", server.only), ("confirm", server.confirm)):
        if unknown := set(names) - set(known):
            has = ", ".join(known) or "none"
            raise _mistake(server, f"has no tool {min(unknown)!r}, which {setting}= names; it has: {has}")
    taken = [tool for name, tool in known.items() if not server.only or name in server.only]
    if not taken:
        raise _mistake(server, "has no tools; leave it out")
    argument = server.customer_argument
    if argument is not None and not any(argument in _properties(tool.input_schema) for tool in taken):
        raise _mistake(server, f"no tool has the argument {argument!r}, which customer_argument= names; correct it")
    return tuple(_tool(server, tool, call) for tool in taken)


def _tool(server: McpServer, tool: types.Tool, call: Call) -> Tool:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", server.prefix + tool.name)
    if len(name) > _LONGEST_NAME:
        fix = "shorten prefix=, or leave the tool out by only="
        raise _mistake(server, f"the name {name!r} is longer than {_LONGEST_NAME} characters; {fix}")
    argument = server.customer_argument
    hidden = argument if argument in _properties(tool.input_schema) else None
    schema = _shown(tool.input_schema, hidden)
    kind: type[Validator] = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        fix = "correct it, or leave the tool out by only="
        raise _mistake(server, f"the schema of {tool.name!r} is no JSON Schema: {error.message}; {fix}") from None
    names, confirm = frozenset(_properties(schema)), tool.name in server.confirm
    return Tool(
        ToolSpec(name, tool.description or tool.title or tool.name, orjson.dumps(schema).decode()),
        # An empty registry: a server's schema must not have us fetch anything.
        partial(_check, kind(schema, registry=Registry()), names if hidden else None),
        partial(_run, call, tool.name, hidden, confirm),
        confirm=confirm,
        summary=_summary(server, tool.name, schema) if confirm else None,
        needs_customer=hidden is not None,
        read_only=not confirm and bool(tool.annotations and tool.annotations.read_only_hint),
    )


def _shown(schema: Mapping[str, Any], hidden: str | None) -> dict[str, Any]:
    """A schema as the model is shown it: without the argument that is ours to fill."""
    shown = {key: value for key, value in schema.items() if key not in ("$schema", "title")}
    shown["properties"] = {name: what for name, what in _properties(schema).items() if name != hidden}
    if hidden is not None:
        shown["required"] = [name for name in schema.get("required", ()) if name != hidden]
        # Nor may it come by another way: a server may take an argument by more names than it tells.
        shown["additionalProperties"] = False
        shown.pop("patternProperties", None)
    return shown


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = schema.get("properties")
    return found if isinstance(found, dict) else {}


def _check(validator: Validator, names: frozenset[str] | None, given: str) -> Arguments:
    """``names`` are all that a model may give; None leaves that to the schema."""
    try:
        arguments = orjson.loads(given or "{}")
    except orjson.JSONDecodeError as error:
        raise ToolError(f"wrong arguments: no JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ToolError("wrong arguments: not an object")
    # Not left to the schema alone: who the customer is may depend on it.
    if names is not None and (unknown := set(arguments) - names):
        raise ToolError(f"wrong arguments: {min(unknown)}: there is no such argument")
    try:
        faults = list(validator.iter_errors(arguments))[:5]
    except Exception:  # a pattern of another dialect, a reference elsewhere, a loop: the server may judge it
        return arguments
    if faults:
        wrong = "; ".join(f"{fault.json_path.removeprefix('$.')}: {fault.message[:_LONGEST_FAULT]}" for fault in faults)
        raise ToolError(f"wrong arguments: {wrong}")
    return arguments


async def _run(
    call: Call,
    name: str,
    hidden: str | None,
    confirm: bool,
    arguments: Arguments,
    customer: Customer | None,
    key: IdempotencyKey | None,
) -> object:
    given = dict(arguments)
    if hidden is not None:
        if customer is None:
            raise ToolError("the customer is not signed in: ask them to sign in first")
        given[hidden] = customer.user_id
    try:
        result = await call(name, given)
    except ToolError as error:
        if confirm and isinstance(error, LostCall):
            raise TimeoutError(str(error)) from None  # an action that did not end, not one that failed
        raise
    except Exception as error:
        if confirm:  # there was an answer, and it is not what the server declares: the action may have been carried out
            raise TimeoutError(f"{type(error).__name__}: {error}") from error
        raise
    text = in_words(result)
    if result.is_error:
        raise ToolError(text or "the tool failed")
    return text or "done"


def in_words(result: types.CallToolResult) -> str:
    """A result as a model is told it: its texts; without any, its structured content as JSON; else notes of what it is."""
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    if not texts and result.structured_content is not None:
        texts = [orjson.dumps(result.structured_content).decode()]
    return "\n".join([*texts, *(_note(block) for block in result.content if not isinstance(block, types.TextContent))])


def _note(block: types.ContentBlock) -> str:
    match block:
        case types.ImageContent() | types.AudioContent():
            return f"[{block.type}, {block.mime_type}: cannot be shown]"
        case types.ResourceLink():
            return f"[resource {block.name}: {block.uri}]"
        case types.EmbeddedResource():
            return f"[resource: {block.resource.uri}]"
        case _:
            return f"[{block.type}]"


def _summary(server: McpServer, name: str, schema: Mapping[str, Any]) -> Summary:
    """From the texts in ``confirm``, in the language of what the customer said."""
    given, known = server.confirm[name], _properties(schema)
    texts = {"": given} if isinstance(given, str) else dict(given)
    if not texts:
        raise _mistake(server, f"confirm= of {name!r} has no text; say what the customer agrees to")
    parts = {language: _parts(server, name, text, known) for language, text in texts.items()}
    defaults = {wanted: what.get("default") if isinstance(what, dict) else None for wanted, what in known.items()}

    async def summary(arguments: Arguments, _: Customer | None, said: str) -> str:
        chosen = parts.get("zh" if in_chinese(said) else "en", next(iter(parts.values())))
        return "".join(
            text + ("" if wanted is None else _in_summary(arguments.get(wanted, defaults[wanted])))
            for text, wanted in chosen
        )

    return summary


def _parts(server: McpServer, name: str, text: str, known: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """A template's texts and arguments. Only whole ones may stand in its braces, so that no argument can make it fail."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise _mistake(server, f"confirm= of {name!r}, {text!r}: {error}; correct it") from None
    for _, wanted, spec, conversion in parts:
        if wanted is not None and (wanted not in known or spec or conversion):
            has = ", ".join(known) or "none"
            written = f"{{{wanted}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
            raise _mistake(
                server, f"confirm= of {name!r}: {written} is no argument for the customer to see; there are: {has}"
            )
    return [(before, wanted) for before, wanted, _, _ in parts]


def _in_summary(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _mistake(server: McpServer, what: str) -> SettingsError:
    return SettingsError(f"McpServer({server.label}): {what}")
