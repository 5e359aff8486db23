"""MCP servers as sources of tools (the extra `mcp`)."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".server": "McpServer",
}

if TYPE_CHECKING:
    from .server import McpServer
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = ["McpServer"]
