"""Assistants: who answers, with what instructions, tools and specialists."""

from .complexity import Complexity, Signals
from .definition import Assistant, HandOff, Specialist
from .loading import load_assistant
from .mcp import McpServer
from .toolbox import ToolLimits
from .tools import Customer, IdempotencyKey, ToolError, tool

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
