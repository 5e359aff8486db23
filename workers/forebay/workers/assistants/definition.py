"""The definition of an assistant: a frozen value that a user's module holds, or the built-in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.schemas import Turn, WhenBusy
from forebay.workers.conversations.redaction import Redactor
from forebay.workers.conversations.window import Window
from forebay.workers.models import ModelOptions

from .complexity import Complexity, Signals, complexity
from .mcp import McpServer
from .toolbox import ToolLimits
from .tools import Tool

DEFAULT_MODEL = "claude-haiku-4-5"

_INSTRUCTIONS = """\
You are the customer assistant of an online shop. Answer in the language the customer writes in, briefly and plainly.
If you do not know something about an order, a product or a delivery, say so and say where to find it; never invent it.\
"""

ToolSource = Callable[..., Any] | McpServer | Tool
"""A function with type hints and a docstring, an MCP server whose tools are taken, or a tool as the worker runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOff:
    """When a person takes over a conversation. Until it is given back its turns go to ``chat.handoffs``."""

    on_request: bool = True
    """When the customer asks for a person, in Chinese or English."""
    by_model: bool = True
    """When the model asks for one: it is given a tool for it."""
    after_failures: int = 2
    """When so many turns in a row got no answer; 0 is never. The first of them become dead letters."""
    when: Callable[[Turn], bool] | None = None
    """When this rule says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialist:
    """One who knows about one thing. A conversation stays with its specialist until the customer turns to another's."""

    name: str
    """Also the `route` of its replies."""
    instructions: str
    """After the assistant's own."""
    intents: tuple[str, ...]
    """Words and phrases, in every language of the customers, that say a turn is for this one."""
    tools: tuple[ToolSource, ...] = ()
    """Besides the assistant's own."""
    model: str | None = None
    """None takes the one for the turn's complexity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """Who answers. ``FOREBAY_ASSISTANT=shop.assistant:assistant`` names one."""

    instructions: str = _INSTRUCTIONS
    """The system prompt."""
    model: str | None = None
    """Name in the catalogue, or ``provider:name``; None takes FOREBAY_MODEL."""
    models: Mapping[Complexity, str] = field(default_factory=dict)
    """Models for harder (or simpler) turns; what is not named takes ``model``."""
    complexity: Callable[[Signals], Complexity] = complexity
    """Decides which of ``models`` a turn needs."""
    fallbacks: tuple[str, ...] = ()
    """Models to ask when the first cannot answer, in order; empty takes FOREBAY_FALLBACKS."""
    options: Mapping[str, ModelOptions] = field(default_factory=dict)
    """By model: most tokens to write, sampling, the time of a call."""
    max_tokens: int = 1024
    """Most tokens to write in a reply."""
    window: Window = Window()
    """How much of the conversation a model is shown, and when the rest is summarised."""
    redaction: Redactor | None = field(default_factory=Redactor)
    """What is hidden from models and logs; None hides nothing."""
    faq: Path | str | None = None
    """A YAML file of questions that are answered without a model; read again when it changes."""
    specialists: tuple[Specialist, ...] = ()
    tools: tuple[ToolSource, ...] = ()
    """Functions that the model may ask for."""
    tool_limits: ToolLimits = ToolLimits()
    confirm_s: float = 600.0
    """Seconds for which an action waits for the customer's word."""
    hand_off: HandOff | None = None
    """When a person takes over; None is only at a spending ceiling."""
    when_busy: WhenBusy = "enqueue"
    """What a turn does, unless it says so itself, while its conversation has an unfinished one: waits and is answered
    alone, is answered together with what waits (``merge``), also ends the call under way (``interrupt``), or fails
    (``reject``).
    """
    last_resort: Callable[[Turn], str | None] | None = None
    """Answers by rule when no model will; returns None for what it has no answer to."""
