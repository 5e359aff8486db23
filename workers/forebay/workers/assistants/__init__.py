"""Assistants: who answers, with what instructions, tools and specialists."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".complexity": "Complexity Signals",
    ".definition": "Assistant HandOff Specialist",
    ".loading": "load_assistant",
    ".mcp": "McpServer",
    ".toolbox": "ToolLimits",
    ".tools": "Customer IdempotencyKey ToolError tool",
}

if TYPE_CHECKING:
    from .complexity import Complexity, Signals
    from .definition import Assistant, HandOff, Specialist
    from .loading import load_assistant
    from .mcp import McpServer
    from .toolbox import ToolLimits
    from .tools import Customer, IdempotencyKey, ToolError, tool
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = [
    "Assistant",
    "Complexity",
    "Customer",
    "HandOff",
    "IdempotencyKey",
    "McpServer",
    "Signals",
    "Specialist",
    "ToolError",
    "ToolLimits",
    "load_assistant",
    "tool",
]
