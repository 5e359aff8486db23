"""Routing: who answers a turn, the assistant itself or one of its specialists, and what their models are told and offered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from forebay.schemas import SettingsError
from forebay.workers.models import ToolSpec

from .checking import check
from .complexity import Complexity
from .definition import Assistant, Specialist, ToolSource
from .mcp import McpServer
from .text import HAN, normalised
from .toolbox import Toolbox
from .tools import Tool, read_tool

HAND_OFF = "hand_off_to_person"
"""The tool by which a model asks for a person."""
_HAND_OFF_SPEC = ToolSpec(
    HAND_OFF,
    "Hands the conversation to a person of the shop. Use it when the customer needs something that you cannot do, is "
    "upset, or asks for a person.",
    '{"type":"object","properties":{"reason":{"type":"string"}},"required":["reason"],"additionalProperties":false}',
)


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers a turn."""

    name: str | None
    """The specialist's; None for the assistant itself."""
    instructions: str
    toolbox: Toolbox
    tools: tuple[ToolSpec, ...]
    """What the model is offered: the toolbox's, and perhaps a hand-off."""
    model: str | None = None
    """The specialist's own."""
    grade: Complexity = "simple"
    """How hard the turn is."""

    @property
    def hands_off(self) -> bool:
        """Whether the model may ask for a person."""
        return len(self.tools) > len(self.toolbox.specs)

    @property
    def label(self) -> str:
        """The `route` of its replies."""
        return self.name or self.grade

    def graded(self, grade: Complexity) -> Route:
        """The same for a turn of this grade."""
        return self if grade == self.grade or self.name else replace(self, grade=grade)


class Routing:
    """Decides who answers."""

    def __init__(self, assistant: Assistant, found: Mapping[McpServer, tuple[Tool, ...]] = {}) -> None:
        """``found`` are the tools of its MCP servers. Raises SettingsError for a mistake in the definition, with its place
        and the fix.
        """
        check(assistant)
        names = Counter(specialist.name for specialist in assistant.specialists)
        for name, times in names.items():
            if times > 1 or name in ("", "faq", "simple", "complex", "reasoning"):
                why = "twice" if times > 1 else "a name that routes have already"
                raise SettingsError(f"the assistant has a specialist {name!r}: {why}; give each a name of its own")
        self._assistant, self._found = assistant, found
        self.general = self._route(None, assistant.instructions, assistant.tools)
        """The assistant itself."""
        self._specialists = {
            specialist.name: self._route(
                specialist.name,
                f"{assistant.instructions}\n\n{specialist.instructions}",
                (*assistant.tools, *specialist.tools),
                specialist.model,
            )
            for specialist in assistant.specialists
        }
        self._intents = {specialist.name: _intents(specialist) for specialist in assistant.specialists}

    @property
    def routes(self) -> tuple[Route, ...]:
        """All of them, the assistant's own first."""
        return self.general, *self._specialists.values()

    def named(self, name: str | None) -> Route:
        """The specialist of this name; the assistant itself where there is none."""
        return self._specialists.get(name or "", self.general)

    def route(self, text: str, last: str | None) -> Route:
        """Who answers this text in a conversation that ``last`` has answered: the one whose intents it names most, else the
        same as before.
        """
        if not self._specialists:
            return self.general
        plain = normalised(text)
        found = {name: sum(map(len, set(words.findall(plain)))) for name, words in self._intents.items()}
        most = max(found.values())
        named = [name for name, length in found.items() if length == most] if most else []
        if len(named) == 1:
            return self._specialists[named[0]]
        return self.named(last)

    def _route(
        self, name: str | None, instructions: str, sources: tuple[ToolSource, ...], model: str | None = None
    ) -> Route:
        tools = [tool for source in sources for tool in self._tools(source)]
        known = Counter(tool.name for tool in tools)
        if twice := next((tool for tool, times in known.items() if times > 1 or tool == HAND_OFF), None):
            whose = f"the specialist {name}" if name else "the assistant"
            why = "is ours" if twice == HAND_OFF else "is there twice"
            raise SettingsError(
                f"{whose}: the tool {twice} {why}; give each tool a name of its own, a server's by prefix="
            )
        toolbox = Toolbox(tools)
        by_model = self._assistant.hand_off is not None and self._assistant.hand_off.by_model
        return Route(name, instructions, toolbox, (*toolbox.specs, *([_HAND_OFF_SPEC] if by_model else [])), model)

    def _tools(self, source: ToolSource) -> tuple[Tool, ...]:
        if not isinstance(source, McpServer):
            return (source if isinstance(source, Tool) else read_tool(source),)
        if source not in self._found:
            raise SettingsError(
                f"McpServer({source.label}): its tools are not known; enter McpSessions.of(assistant) first"
            )
        return self._found[source]


def _intents(specialist: Specialist) -> re.Pattern[str]:
    """Words of any specialist; Chinese ones are found anywhere, others as whole words."""
    words = sorted({normalised(word) for word in specialist.intents} - {""}, key=len, reverse=True)
    if not words:
        raise SettingsError(
            f"the specialist {specialist.name!r} has no intents: no turn would ever come to it; add words"
        )
    chinese = re.compile(f"[{HAN}]")
    return re.compile(
        "|".join(re.escape(word) if chinese.search(word) else rf"\b{re.escape(word)}\b" for word in words)
    )
