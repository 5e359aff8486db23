"""What the simulated model says: a pure function of the prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from .call_prompt import CallPrompt
from .choosing import choose, obey
from .echo import reply_text
from .tokens import cut_to, estimate

CHUNK_CHARS = 12
"""Characters of one streamed piece."""

_TOOL_REQUEST = re.compile(r"use tool ([A-Za-z0-9_-]+)\s*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class RequestedTool:
    """A tool the model wants run."""

    name: str
    arguments: str
    """A JSON object, as compact JSON."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A whole answer."""

    text: str
    tools: tuple[RequestedTool, ...]
    tokens: int
    """Estimated output tokens."""
    cut: bool = False
    """Whether the caller's max_tokens cut the text."""


def compose(prompt: CallPrompt, *, gullible: bool = False) -> ModelAnswer:
    """The answer to a prompt: tool calls where the last user text asks for them, otherwise the echo.

    A gullible model also calls what the last tool result tells it to.
    """
    if prompt.tools and (calls := _calls(prompt, gullible)):
        names = ", ".join(call.name for call in calls)
        text = f"[turn {len(prompt.user_texts)}] Let me use {names}."
        tokens = estimate(text) + sum(estimate(call.name + call.arguments) for call in calls)
        return ModelAnswer(text, calls, tokens)
    text = reply_text(prompt.user_texts, prompt.tool_results)
    tokens = estimate(text)
    if prompt.max_tokens is not None and tokens > prompt.max_tokens:
        return ModelAnswer(cut_to(text, prompt.max_tokens), (), prompt.max_tokens, cut=True)
    return ModelAnswer(text, (), tokens)


def _calls(prompt: CallPrompt, gullible: bool) -> tuple[RequestedTool, ...]:
    if prompt.tool_results and not gullible:
        return ()
    text = prompt.tool_results[-1] if prompt.tool_results else prompt.last_text
    if "use tool " in text:
        return tuple(requested_tools(text, prompt.tools))
    call = (obey if prompt.tool_results else choose)(text, prompt.offers)
    return (RequestedTool(*call),) if call else ()


def requested_tools(text: str, offered: frozenset[str]) -> Iterator[RequestedTool]:
    """Each `use tool NAME {json object}` in the text whose NAME is offered; no or broken JSON means `{}`."""
    for found in _TOOL_REQUEST.finditer(text):
        if found[1] in offered:
            yield RequestedTool(found[1], _object_at(text, found.end()))


def pieces(text: str, size: int = CHUNK_CHARS) -> list[str]:
    """The text in streamed pieces of `size` characters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def _object_at(text: str, start: int) -> str:
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except ValueError:
        return "{}"
    return orjson.dumps(value).decode() if isinstance(value, dict) else "{}"
