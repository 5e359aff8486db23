"""MCP servers as sources of tools (the extra `mcp`)."""

from .server import McpServer

__all__ = ["McpServer"]
