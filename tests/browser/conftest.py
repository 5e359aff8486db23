"""A real Chromium, and pages that fail their test when anything goes wrong inside them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from .stub_gateway import StubGateway

PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(event.violatedDirective);
  console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Troubles:
    """What went wrong inside the pages of a test."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.network_may_fail = False
        """The browser itself writes every refused or broken request to the console."""

    def console(self, message: ConsoleMessage) -> None:
        if message.type != "error" or (self.network_may_fail and message.text.startswith("Failed to load resource")):
            return
        self.seen.append(f"console: {message.text}")


class OpenPage(Protocol):
    async def __call__(self, **context: Any) -> Page: ...


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = next((found for name in _CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(_CHROMIUM)} is in PATH")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
def troubles() -> Troubles:
    return Troubles()


@pytest.fixture
def network_may_fail(troubles: Troubles) -> None:
    """For tests that refuse or cut requests on purpose."""
    troubles.network_may_fail = True


@pytest_asyncio.fixture
async def open_page(browser: Browser, gateway: StubGateway, troubles: Troubles) -> AsyncIterator[OpenPage]:
    """Pages in contexts of their own: ``await open_page(locale="zh-CN", color_scheme="dark")``.

    They are closed before the gateway leaves, which they would notice.
    """
    contexts = []

    async def open_one(**context: Any) -> Page:
        settings = {"locale": "en-GB", "viewport": {"width": 1000, "height": 760}, "reduced_motion": "reduce"}
        opened = await browser.new_context(**{**settings, **context})
        contexts.append(opened)
        await opened.add_init_script(_WATCH_POLICY)
        page = await opened.new_page()
        page.on("console", troubles.console)
        page.on("pageerror", lambda error: troubles.seen.append(f"page error: {error}"))
        page.set_default_timeout(PATIENCE_MS)
        return page

    yield open_one
    for context in contexts:
        await context.close()
    assert troubles.seen == []


@pytest_asyncio.fixture
async def page(open_page: OpenPage) -> Page:
    return await open_page()


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[StubGateway]:
    async with StubGateway() as stub:
        yield stub
