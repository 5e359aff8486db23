"""The pages: files beside this one, read once, and served with a content policy that allows our own scripts only."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from aiohttp import hdrs, web

from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.problem import Problem

FOLDER = Path(__file__).parent
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    """A file, ready to be served."""

    body: bytes
    content_type: str
    etag: str


def routes() -> list[web.RouteDef]:
    """Routes of the chat page, the widget and the files that they load."""
    return [
        web.get("/", chat_page),
        web.get("/chat", chat_page),
        web.get("/widget.js", widget),
        web.get("/pages/{name}", page_file),
    ]


async def chat_page(request: web.Request) -> web.Response:
    """The chat page, by itself or inside a shop's page."""
    return serve(request, "chat.html")


async def widget(request: web.Request) -> web.Response:
    """The script that a shop's page loads; any page may load it."""
    response = serve(request, "widget.js")
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


async def page_file(request: web.Request) -> web.Response:
    """A file that the pages load."""
    return serve(request, request.match_info["name"])


def serve(request: web.Request, name: str, policy: str | None = None) -> web.Response:
    """Serves a file with this Content-Security-Policy, or the default one. Raises Problem."""
    if (file := _read(name)) is None:
        raise Problem(404, "there is no such page")
    headers = {
        hdrs.ETAG: file.etag,
        hdrs.CACHE_CONTROL: "no-cache",  # asked again each time: the files of two versions are not mixed
        "Content-Security-Policy": policy or content_policy(GatewayContext.of(request).settings.origins),
    }
    if request.headers.get(hdrs.IF_NONE_MATCH) == file.etag:
        return web.Response(status=304, headers=headers)
    headers[hdrs.CONTENT_TYPE] = file.content_type
    return web.Response(body=file.body, headers=headers)


def content_policy(framed_by: tuple[str, ...]) -> str:
    """The default policy: our own scripts, styles and connections only; only the shop's pages may embed the page."""
    ancestors = " ".join(("'self'", *framed_by))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; "
        f"frame-ancestors {ancestors}"
    )


@lru_cache(maxsize=256)
def _read(name: str) -> File | None:
    # Only names that are there: what stands in an address never becomes a path.
    found = {file.name: file for file in FOLDER.iterdir() if file.suffix in _TYPES}.get(name)
    if found is None:
        return None
    body = found.read_bytes()
    return File(body, _TYPES[found.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
