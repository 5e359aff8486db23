"""The console's page in a real browser: true to its gateway, strict in what it runs, quick with a large fleet, usable by hand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiokafka import AIOKafkaProducer
from playwright.async_api import Page, expect

from forebay.gateway.console import page as pages
from forebay.gateway.pages.static import FOLDER
from forebay.producers import ChatClient
from forebay.rehearsal.model_api import ModelApi
from forebay.schemas import Cluster
from tests.integration.conftest import Fleet, fleet, until
from tests.integration.gateway import serving

from .conftest import OpenPage

__all__ = ["fleet"]

XSS = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"
PLOT = ".plot .scatterlayer .trace path.js-line"
LARGE_FIRST_MS = 3_000
LARGE_EACH_MS = 400
"""Bounds for a machine that does other things too; alone on two cores it takes a tenth."""


def snapshot(*, workers: int = 2, partitions: int = 12, waiting: int = 0, name: str = "worker") -> dict[str, Any]:
    """One as the gateway tells it."""
    now = {
        "at": time.time(), "offered": 120.0, "answered": 118.0, "waiting": waiting, "in_flight": 50, "oldest_s": 3.0,
        "queued_p50": 40.0, "queued_p99": 900.0, "model_p50": 800.0, "model_p99": 2_400.0, "failed": 0,
    }  # fmt: skip
    names = [f"{name}-{number:02}" for number in range(workers)]
    rows = [
        [number, 1_000, waiting // partitions, 2, 3.0, False, names[number % workers], False]
        for number in range(partitions)
    ]
    told = [
        {
            "id": worker, "version": "1", "host": "h", "pid": 1, "group": "g", "foreign": False, "state": "working",
            "silent": False, "age_s": 0.2, "up_s": 100, "trouble": None, "in_flight": 5, "waiting": 10 + waiting, "permits": 50,
            "concurrency": 50, "answered": 10.0, "oldest_s": 1.0, "outcomes": {"answered": 100}, "dead_letters": {},
            "partitions": [[number, 10, 1, False] for number in range(partitions)],
            "models": [["anthropic/claude-haiku-4-5", "closed", "", 0.8]],
        }
        for worker in names
    ]  # fmt: skip
    return {
        "at": now["at"], "now": now, "turns": 100, "outcomes": {"answered": 98, "failed": 2}, "errors": {}, "unknown_partitions": 0,
        "partitions": rows, "workers": told, "job": None,
        "troubles": [{"code": "budget-near", "severe": False, "title": "Budget", "text": "85% of 10.00 USD is spent this hour."}],
        "models": [{"name": "anthropic/claude-haiku-4-5", "closed": workers, "half_open": 0, "open": 0, "reason": "", "quota_left": 0.8}],
        "spending": {"hour_usd": 8.5, "day_usd": 20.0, "hour_ceiling_usd": 10.0, "day_ceiling_usd": None, "shared": True},
        "gateway": {"connections": 7, "streaming": True, "wait_s": 1.5, "kafka_away_s": None, "consoles": 1, "sample_ms": 1.0},
    }  # fmt: skip


def history(points: int = 1_800) -> dict[str, list[float]]:
    """Half an hour of them."""
    now, at = snapshot()["now"], time.time()
    columns = {name: [value + number % 7 for number in range(points)] for name, value in now.items()}
    return columns | {"at": [at - points + number for number in range(points)]}


@dataclass
class Stub:
    """A gateway that tells the console what a test says."""

    url: str = ""
    snapshots: asyncio.Queue[dict[str, Any] | None] = field(default_factory=asyncio.Queue)
    past: dict[str, list[float]] = field(default_factory=history)
    key: str | None = None
    plots: bool = True
    said: list[dict[str, Any]] = field(default_factory=list)
    letters: list[dict[str, Any]] = field(default_factory=list)
    connects: int = 0

    def routes(self) -> list[web.RouteDef]:
        api = "/console/api"
        return [
            web.get("/console", pages.console_page),
            web.get("/console/plotly.min.js", self._plotly),
            web.get("/pages/{name}", self._file),
            web.get(f"{api}/whoami", self._whoami),
            web.get(f"{api}/live", self._live),
            web.get(f"{api}/dead-letters", self._letters),
            web.post(f"{api}/commands", self._command),
        ]

    def tell(self, **what: Any) -> None:
        self.snapshots.put_nowait(snapshot(**what))

    async def _plotly(self, request: web.Request) -> web.Response:
        return await pages.plotly(request) if self.plots else web.Response(content_type="text/javascript")

    async def _file(self, request: web.Request) -> web.Response:
        kind = "text/css" if request.match_info["name"].endswith("css") else "text/javascript"
        return web.Response(text=(FOLDER / request.match_info["name"]).read_text(), content_type=kind)

    async def _whoami(self, request: web.Request) -> web.Response:
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"status": 401, "detail": "this key is not known here"}, status=401)
        topics = {"requests": "chat.requests", "dead_letters": "chat.requests.dlq", "commands": "chat.commands"}
        about = {"name": "ada", "open": self.key is None, "group": "g", "turn_ttl_s": 120.0, "topics": topics}
        return web.json_response(about | {"plots": self.plots})

    async def _live(self, request: web.Request) -> web.StreamResponse:
        self.connects += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"event: history\ndata: {json.dumps(self.past)}\n\n".encode())
        while (told := await self.snapshots.get()) is not None:
            try:
                await response.write(f"event: snapshot\ndata: {json.dumps(told)}\n\n".encode())
            except ConnectionError:  # the page gave this connection up for its silence: the next one is told
                self.snapshots.put_nowait(told)
                break
        return response

    async def _letters(self, _: web.Request) -> web.Response:
        return web.json_response({"letters": self.letters, "next": None})

    async def _command(self, request: web.Request) -> web.Response:
        self.said.append(await request.json())
        return web.json_response({}, status=202)


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[Stub]:
    stub, app = Stub(), web.Application()
    app.add_routes(stub.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}/console"
    yield stub
    stub.snapshots.put_nowait(None)
    await runner.cleanup()


async def opened(page: Page, stub: Stub, tab: str = "now", **what: Any) -> None:
    await page.goto(f"{stub.url}#{tab}")
    stub.tell(**what)
    await expect(page.locator("#link")).to_have_text("live")


# With a real gateway, a real worker and real dead letters


async def test_the_page_shows_the_fleet_and_its_word_is_obeyed(
    fleet: Fleet, cluster: Cluster, model_api: ModelApi, open_page: OpenPage
) -> None:
    worker = await fleet.start()
    async with AIOKafkaProducer(**cluster.connection()) as producer:
        await producer.send_and_wait(cluster.topics.requests, XSS.encode(), key=XSS.encode())
    async with ChatClient(cluster) as chat, serving(cluster) as gateway:
        await asyncio.gather(*(chat.ask("Is it in stock?", conversation_id=f"c-{number}") for number in range(20)))
        page = await open_page(viewport={"width": 1280, "height": 800})
        await page.goto(f"{gateway.url}/console")
        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator(PLOT).first).to_be_attached(timeout=30_000)
        assert await page.locator(".plot .main-svg").count() >= 4
        await expect(page.locator("td.id", has_text=worker.name)).to_have_count(3)

        await page.get_by_role("tab", name="Dead letters").click()
        await expect(page.locator("td", has_text="<img src=x").first).to_be_visible(timeout=30_000)
        await page.locator("td .link").first.click()
        await expect(page.locator("dialog pre")).to_have_text(XSS)
        await page.keyboard.press("Escape")
        await expect(page.locator("dialog")).to_have_count(0)

        await page.get_by_role("tab", name="Workers").click()
        await page.get_by_role("button", name=f"Pause {worker.name}").click()
        await page.locator("dialog").get_by_role("button", name="Pause").click()
        await expect(page.locator(".pill")).to_have_text("paused")
        await expect(page.locator("#troubles")).to_contain_text(f"{worker.name}, by an operator.")
        await page.get_by_role("button", name=f"Resume {worker.name}").click()
        await page.locator("dialog").get_by_role("button", name="Resume").click()
        await expect(page.locator(".pill")).to_have_text("working")

        await page.get_by_role("tab", name="Audit").click()
        await expect(page.locator("td", has_text=f"worker {worker.name}")).to_have_count(2)
        assert await page.evaluate("window.hit") is None


# With what a test says


async def test_plots_are_drawn_under_the_page_s_own_policy(page: Page, stub: Stub) -> None:
    await opened(page, stub)
    await expect(page.locator(PLOT)).to_have_count(8)
    first = "document.querySelector('.plot').data[0].x.length"
    assert await page.evaluate(first) >= 270, (
        "they begin full, with five minutes, of which some seconds may have passed"
    )
    await page.locator(".plot .nsewdrag").first.hover()
    await expect(page.locator(".hoverlayer text").first).to_be_attached()
    await page.locator("select[aria-label='Time shown']").select_option("1800")
    stub.tell()
    await page.wait_for_function(f"{first} > 320")
    assert await page.evaluate(first) <= 400


async def test_without_plotly_everything_but_plots_is_there(page: Page, stub: Stub) -> None:
    stub.plots = False
    await opened(page, stub, waiting=120)
    await expect(page.locator("#figure-waiting")).to_have_text("120")
    await expect(page.locator("main")).to_contain_text("pip install 'forebay[console]'")
    await expect(page.locator(".plot")).to_have_count(0)


@pytest.mark.parametrize(("tab", "shown"), [("now", 10_000), ("workers", 10_010)], ids=["now", "workers"])
async def test_a_large_fleet_renders_within_its_bound(page: Page, stub: Stub, tab: str, shown: int) -> None:
    large = {"workers": 50, "partitions": 96, "waiting": 10_000}
    await page.goto(f"{stub.url}#{tab}")
    await expect(page.locator("main section").first).to_be_visible()
    await page.evaluate(
        """() => { window.spent = []; window.seen = performance.now();
        new PerformanceObserver((list) => window.spent.push(...list.getEntries().map((entry) => entry.duration)))
          .observe({ type: "longtask", buffered: false }); }"""
    )
    began = time.monotonic()
    stub.tell(**large)
    await expect(page.locator("#link")).to_have_text("live")
    rows = page.locator("tbody tr")
    await expect(rows.first).to_be_visible()
    assert (time.monotonic() - began) * 1000 < LARGE_FIRST_MS
    await page.evaluate("window.spent.length = 0")
    for more in (96, 192, 288, 384):
        stub.tell(**large | {"waiting": 10_000 + more})
        await expect(page.locator("main")).to_contain_text(f"{shown + more:,}")
    await page.evaluate(
        "new Promise((seen) => requestAnimationFrame(() => setTimeout(seen)))"
    )  # the last one is told of
    slowest = await page.evaluate("Math.max(0, ...window.spent)")
    assert slowest < LARGE_EACH_MS, f"one snapshot took {slowest:.0f} ms"
    assert await rows.count() < 250, "tables are capped"


async def test_hostile_names_are_only_text(page: Page, stub: Stub) -> None:
    stub.letters = [
        {
            "id": "0-1", "died_at": time.time() * 1000, "reason": XSS, "message": f'"onmouseover="window.hit=1 {XSS}', "conversation": XSS,
            "tenant": XSS, "turn": XSS, "attempts": 0, "replays": 0, "replayed": False, "text": f"a\u202eb\x1b[31m{XSS}", "bytes": 9,
        }
    ]  # fmt: skip
    await opened(page, stub, tab="workers", name=XSS)
    await expect(page.locator("td.id").first).to_contain_text(XSS)
    await page.get_by_role("button", name="Drain <img").first.click()
    await expect(page.locator("dialog h2")).to_contain_text(XSS)
    await page.keyboard.press("Escape")
    await page.get_by_role("tab", name="Dead letters").click()
    await expect(page.locator("td.wide")).to_have_text(f"a\\u202eb\\u001b[31m{XSS}")
    await page.get_by_role("tab", name="Now").click()
    await expect(page.locator("td.id").first).to_contain_text(XSS)
    assert await page.evaluate("window.hit") is None
    assert await page.locator("main img, main script").count() == 0


async def test_what_harms_asks_first_and_draining_all_wants_a_word(page: Page, stub: Stub) -> None:
    await opened(page, stub, tab="workers")
    await page.get_by_role("button", name="Drain all").click()
    drain = page.locator("dialog .acts button").last
    await expect(drain).to_be_disabled()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Drain all").click()
    await page.locator("dialog input").fill("drain")
    await drain.click()
    await page.get_by_role("button", name="Pause worker-01").click()
    await page.locator("dialog").get_by_role("button", name="Cancel").click()
    await page.locator("select[aria-label=Partition]").select_option("7")
    await page.locator("section", has_text="One partition").get_by_role("button", name="Resume").click()
    await page.locator("dialog").get_by_role("button", name="Resume").click()
    await until(lambda: len(stub.said) > 1)  # the dialog may close before the gateway has heard it
    assert stub.said == [{"command": "drain", "worker": "*"}, {"command": "resume", "worker": "*", "partition": 7}]
    await expect(page.locator("dialog")).to_have_count(0)


@pytest.mark.usefixtures("network_may_fail")
async def test_a_key_is_asked_for_and_forgotten(page: Page, stub: Stub) -> None:
    stub.key = "k-ada"
    await page.goto(stub.url)
    await expect(page.locator("#secret")).to_be_focused()
    await expect(page.locator("#tabs")).to_be_hidden()
    await page.locator("#secret").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.locator("#refused")).to_have_text("this key is not known here")
    await page.locator("#secret").fill("k-ada")
    await page.keyboard.press("Enter")
    await expect(page.locator("#who")).to_have_text("ada")
    assert await page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 1]
    await page.get_by_role("button", name="Forget key").click()
    await expect(page.locator("#secret")).to_be_focused()
    assert await page.evaluate("sessionStorage.length") == 0
    assert "k-ada" not in await page.content()


async def test_a_lost_connection_is_shown_and_comes_back(page: Page, stub: Stub) -> None:
    await opened(page, stub)
    stub.snapshots.put_nowait(None)
    await expect(page.locator("#link")).to_have_text("connection lost")
    stub.tell(waiting=24)
    await expect(page.locator("#link")).to_have_text("live")
    await expect(page.locator("#figure-waiting")).to_have_text("24")
    assert stub.connects == 2


async def test_by_keyboard_and_for_screen_readers(page: Page, stub: Stub) -> None:
    await opened(page, stub)
    await page.get_by_role("tab", name="Now").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Workers")).to_be_focused()
    await expect(page.get_by_role("tab", name="Workers")).to_have_attribute("aria-selected", "true")
    await expect(page.get_by_role("tabpanel", name="Workers")).to_be_visible()
    await expect(page.get_by_role("table", name="Workers", exact=True)).to_be_visible()
    button = page.get_by_role("button", name="Pause worker-01")
    await button.focus()
    stub.tell(waiting=999)
    await expect(page.get_by_role("row", name="worker-01")).to_contain_text("1,009")
    await expect(button).to_be_focused()  # the row stays while its numbers change
    await expect(page.locator("#announced")).to_have_text("Budget")


async def test_a_phone_scrolls_in_one_direction_only(open_page: OpenPage, stub: Stub) -> None:
    page = await open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    await opened(page, stub)
    for tab in ("now", "workers", "letters"):
        await page.locator(f"#tab-{tab}").click()
        await expect(page.locator("main section").first).to_be_attached()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab
