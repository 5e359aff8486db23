"""The console's page, and the library for its plots, which is served from the installed package.

Its content policy is as strict as that of the other pages, with one exception: plotly adds two style elements to the page.
One is empty and gets its rules by script; the other is a map's style sheet inside plotly's file. Both are allowed by their
hashes; no other style is, and no script or worker but our own files.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from aiohttp import hdrs, web

from forebay.gateway.pages.static import serve

_INJECTED = re.compile(r"""\.textContent=(['"`])((?:(?!\1)[^\\])*)\1,document\.head\.appendChild""")
_MISSING = b"/* Plots: pip install 'forebay[console]' */\n"


class Plotly(NamedTuple):
    """The library, ready to be served."""

    packed: bytes
    """Compressed with gzip."""
    etag: str
    styles: tuple[str, ...]
    """Hashes of the style elements that it adds to a page, as a content policy names them."""


async def console_page(request: web.Request) -> web.Response:
    """The page without any data; its data needs an admin's key."""
    plotly = await asyncio.to_thread(find_plotly)
    return serve(request, "console.html", content_policy(() if plotly is None else plotly.styles))


async def plotly(request: web.Request) -> web.Response:
    """plotly.min.js; an empty script where the package is not installed."""
    found = await asyncio.to_thread(find_plotly)
    if found is None:
        return web.Response(body=_MISSING, content_type="text/javascript")
    headers = {hdrs.ETAG: found.etag, hdrs.CACHE_CONTROL: "private, max-age=86400"}
    if request.headers.get(hdrs.IF_NONE_MATCH) == found.etag:
        return web.Response(status=304, headers=headers)
    headers |= {hdrs.CONTENT_ENCODING: "gzip", hdrs.CONTENT_TYPE: "text/javascript; charset=utf-8"}
    return web.Response(body=found.packed, headers=headers)


def content_policy(styles: tuple[str, ...]) -> str:
    """The content policy: our own files and these styles only, and no frame around the page."""
    return (
        f"default-src 'none'; script-src 'self'; style-src {' '.join((chr(39) + 'self' + chr(39), *styles))}; "
        "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'"
    )


@lru_cache(maxsize=1)
def find_plotly() -> Plotly | None:
    """Reads and compresses it once. Takes a quarter of a second: call it in a thread."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    try:
        script = file.read_bytes()
        etag = f'"plotly-{version("plotly")}"'
    except (OSError, PackageNotFoundError):
        return None
    injected = (found[2] for found in _INJECTED.finditer(script.decode()))
    return Plotly(gzip.compress(script, 6), etag, tuple(style_hash(style) for style in ("", *injected)))


def style_hash(style: str) -> str:
    """The hash by which a Content-Security-Policy names an inline style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"
