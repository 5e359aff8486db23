"""A shop as an MCP server for tests: ``python mcp_shop.py stdio``, or ``http PORT [old]``, which prints a line when it listens.

``old`` speaks the protocol with sessions, as servers of before July 2026 do.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import defaultdict
from typing import Any

import uvicorn
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ListToolsResult, PaginatedRequestParams
from starlette.types import ASGIApp, Receive, Scope, Send

PAGE = 3


class Shop(MCPServer):
    """Lists its tools page by page."""

    async def _handle_list_tools(self, ctx: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        found = (await super()._handle_list_tools(ctx, params)).tools
        begin = int(params.cursor) if params and params.cursor else 0
        end = begin + PAGE
        return ListToolsResult(tools=found[begin:end], next_cursor=str(end) if end < len(found) else None)


shop = Shop("shop")
guests: defaultdict[str, list[asyncio.Event]] = defaultdict(list)


@shop.tool()
def get_order(order_id: str, verbose: bool = False) -> str:
    """One order."""
    return f"order {order_id}: paid" + (", in full" if verbose else "")


@shop.tool()
def my_orders(customer_id: str, limit: int = 10) -> dict[str, Any]:
    """The customer's orders."""
    return {"customer": customer_id, "limit": limit}


@shop.tool()
def cancel_order(customer_id: str, order_id: str, reason: str = "none given") -> str:
    """Cancels an order."""
    return f"cancelled {order_id} of {customer_id}: {reason}"


@shop.tool()
def broken() -> str:
    """Always fails."""
    raise ToolError("the warehouse is closed")


@shop.tool(structured_output=False)
def photo() -> list[Any]:
    """A text and a picture."""
    return ["a red shoe", Image(data=b"\x89PNG", format="png")]


@shop.tool(name="shop.stock", structured_output=False)
def stock() -> None:
    """Says nothing."""


@shop.tool()
async def meet(where: str, count: int) -> str:
    """Answers when so many wait there."""
    came = asyncio.Event()
    guests[where].append(came)
    if len(guests[where]) >= count:
        for guest in guests.pop(where):
            guest.set()
    await came.wait()
    return "met"


@shop.tool()
def pid() -> str:
    """The server's process."""
    return str(os.getpid())


@shop.tool()
def variable(name: str) -> str:
    """What the environment has by this name."""
    return os.environ.get(name, "nothing")


@shop.tool()
async def die() -> str:
    """Ends the server at once."""
    os._exit(1)


@shop.tool()
async def freeze() -> str:
    """Blocks the server for good."""
    time.sleep(3600)
    return ""


def without_discovery(app: ASGIApp) -> ASGIApp:
    """An app that refuses the newest protocol, so that a client falls back to sessions."""

    async def old(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version", b"").startswith(b"2026"):
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return old


async def serve_http(port: int, old: bool) -> None:
    listening = socket.create_server(("127.0.0.1", port))
    app: ASGIApp = shop.streamable_http_app()
    server = uvicorn.Server(uvicorn.Config(without_discovery(app) if old else app, log_level="warning"))
    print(listening.getsockname()[1], flush=True)
    await server.serve([listening])


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        shop.run()
    else:
        asyncio.run(serve_http(int(sys.argv[2]), "old" in sys.argv))
