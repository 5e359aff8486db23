"""A gateway that does what a test tells it to: every event, every refusal and every dropped connection by hand.

It keeps to the contract in docs/gateway.md, and serves the pages as the real one does.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

PAGES = Path(__file__).parents[2] / "gateway" / "forebay" / "gateway" / "pages"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors *"
)
NEVER = "2099-01-01T00:00:00Z"


@dataclass(frozen=True)
class Refusal:
    """What a request gets instead of an answer; ``status`` 0 cuts the connection."""

    status: int
    code: str = ""
    retry_after_s: float | None = None
    more: dict[str, object] = field(default_factory=dict)
    taken: bool = False
    """Whether the turn was taken all the same, as when a 202 is lost on its way."""


@dataclass(frozen=True)
class Post:
    """One POST as it came."""

    path: str
    body: dict[str, Any]
    authorization: str | None


@dataclass
class _Event:
    type: str
    data: dict[str, object]
    position: int | None


class Turn:
    """A turn that was taken; its methods are what a worker would publish about it."""

    def __init__(self, gateway: StubGateway, post: Post) -> None:
        self._gateway = gateway
        self.post = post
        self.turn_id: str = post.body["turn_id"]
        self.text = str(post.body.get("text", ""))
        self.said = ""
        self.next = 0
        self.reply: dict[str, object] | None = None
        self.status = "queued"
        self.place: dict[str, object] | None = None

    def queued(self, ahead: int, estimated_wait_s: float | None) -> None:
        self.place = {"ahead": ahead, "estimated_wait_s": estimated_wait_s}
        self._gateway.publish("queued", {"turn_id": self.turn_id, **self.place})

    def started(self) -> None:
        self.status = "started"
        self._gateway.publish("started", {"turn_id": self.turn_id})

    def delta(self, text: str, *, sequence: int | None = None, restart: bool = False) -> None:
        at = self.next if sequence is None else sequence
        self.next = at + 1
        self.said = text if at == 0 or restart else self.said + text
        data: dict[str, object] = {"turn_id": self.turn_id, "sequence": at, "text": text, "restart": restart}
        self._gateway.publish("delta", data, kept=True)

    def stream(self, *texts: str) -> None:
        for text in texts:
            self.delta(text)

    def ask(self, summary: str, *, text: str = "", expires_at: str = NEVER, action_id: str = "a-1") -> None:
        action = {"action_id": action_id, "summary": summary, "expires_at": expires_at}
        data: dict[str, object] = {"turn_id": self.turn_id, "action": action, "text": text}
        self._gateway.publish("confirmation_required", data)
        self.done(text, outcome="confirmation_required", action=action)

    def done(self, text: str | None = None, *, outcome: str = "answered", **more: object) -> None:
        self.status = "done"
        self.reply = {
            "turn_id": self.turn_id,
            "conversation_id": self._gateway.conversation,
            "reply_id": f"r-{self.turn_id}",
            "outcome": outcome,
            "text": self.said if text is None else text,
            "created_at": "2026-11-21T12:00:00Z",
            "action": None,
            "error": None,
            **more,
        }
        self._gateway.publish("done", {"turn_id": self.turn_id, "reply": self.reply}, kept=True)


class StubGateway:
    """``async with StubGateway() as gateway``: on a free port of loopback."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.connects: list[str | None] = []
        """The last event id of each connection to the events, in order."""
        self.history: list[dict[str, object]] = []
        """What the store remembers of the conversation."""
        self.cancels: list[str] = []
        """Ids of the turns that the page took back."""
        self.ratings: list[tuple[str, dict[str, Any]]] = []
        self.rating_refusals: deque[Refusal] = deque()
        self.event_refusals: deque[Refusal] = deque()
        self.post_refusals: deque[Refusal] = deque()
        self.conversation = ""
        self.extra_pages: dict[str, tuple[str, dict[str, str]]] = {}
        self._turns: dict[str, Turn] = {}
        self._arrived: asyncio.Queue[Turn] = asyncio.Queue()
        self._log: list[_Event] = []
        self._streams: set[_Stream] = set()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self.origin = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/conversations/{id}/{kind:turns|confirm}", self._post)
        app.router.add_get("/v1/conversations/{id}", self._recall)
        app.router.add_post("/v1/conversations/{id}/turns/{turn_id}/cancel", self._cancel)
        app.router.add_post("/v1/conversations/{id}/turns/{turn_id}/feedback", self._rate)
        app.router.add_get("/v1/conversations/{id}/events", self._events)
        app.router.add_get("/v1/turns/{turn_id}", self._look)
        for path in ("/pages/{name}", "/widget.js", "/chat", "/"):
            app.router.add_get(path, self._page)
        app.router.add_get("/extra/{name}", self._extra)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        self.drop()
        await self._runner.cleanup()

    @property
    def chat(self) -> str:
        return f"{self.origin}/chat?lang=en"

    async def turn(self) -> Turn:
        """The next turn that the page sends."""
        return await asyncio.wait_for(self._arrived.get(), 10)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something that this gateway sees is so."""
        async with asyncio.timeout(15), self._changed:
            await self._changed.wait_for(holds)

    async def connected(self, times: int = 1) -> None:
        """Waits for that many connections to the events in all, the last of which still stands."""
        await self.until(lambda: len(self.connects) >= times and bool(self._streams))

    def publish(self, type_: str, data: dict[str, object], *, kept: bool = False) -> None:
        event = _Event(type_, data, len(self._log) if kept else None)
        if kept:
            self._log.append(event)
        for stream in self._streams:
            stream.put(event)

    def again(self, index: int = -1) -> None:
        """What lies on the topic twice: the same event at a new position."""
        event = self._log[index]
        self.publish(event.type, event.data, kept=True)

    def drop(self, *, cut: bytes = b"") -> None:
        """Cuts every connection to the events, after ``cut`` of an event that never becomes whole."""
        for stream in list(self._streams):
            stream.drop(cut)

    @property
    def here(self) -> str:
        return str(len(self._log))

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.conversation = request.match_info["id"]
        post = Post(request.path, await request.json(), request.headers.get("Authorization"))
        event_id = self.here
        self.posts.append(post)
        refusal = self.post_refusals.popleft() if self.post_refusals else None
        await self._tell()
        if refusal is None or refusal.taken:
            self._take(post)
        if refusal is not None:
            return self._refuse(request, refusal)
        turn = self._turns[post.body["turn_id"]]
        body = {
            "turn_id": turn.turn_id,
            "conversation_id": self.conversation,
            "status": turn.status,
            "stream": True,
            "place": turn.place,
            "event_id": event_id,
        }
        return web.json_response(body, status=202)

    def _take(self, post: Post) -> None:
        turn_id = post.body["turn_id"]
        if turn_id not in self._turns:
            self._turns[turn_id] = Turn(self, post)
            self._arrived.put_nowait(self._turns[turn_id])

    async def _recall(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"conversation_id": request.match_info["id"], "exchanges": self.history, "before": None}
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        turn_id = request.match_info["turn_id"]
        self.cancels.append(turn_id)
        await self._tell()
        turn = self._turns.get(turn_id)
        body = {"turn_id": turn_id, "conversation_id": self.conversation}
        if turn is None or turn.reply is None:
            return web.json_response({**body, "status": "cancelling"}, status=202)
        return web.json_response({**body, "status": "done", "reply": turn.reply})

    async def _rate(self, request: web.Request) -> web.Response:
        if self.rating_refusals:
            return self._refuse(request, self.rating_refusals.popleft())
        self.ratings.append((request.match_info["turn_id"], await request.json()))
        await self._tell()
        return web.Response(status=204)

    async def _look(self, request: web.Request) -> web.Response:
        turn = self._turns.get(request.match_info["turn_id"])
        if turn is None:
            return web.json_response({"status": 404, "code": "not_found"}, status=404)
        body = {"turn_id": turn.turn_id, "conversation_id": self.conversation, "status": turn.status}
        return web.json_response({**body, "place": turn.place, "reply": turn.reply})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        self.connects.append(last)
        if self.event_refusals:
            await self._tell()
            return self._refuse(request, self.event_refusals.popleft())
        stream = _Stream(request)
        first = self.here if last is None else last
        stream.put(_Event("open", {"conversation_id": request.match_info["id"], "event_id": first}, int(first) - 1))
        for event in self._log[int(first) :]:
            stream.put(event)
        if last is None:
            self._say_so_far(stream)
        self._streams.add(stream)
        try:
            await self._tell()
            await stream.run()
        finally:
            self._streams.discard(stream)
        return stream.response

    def _say_so_far(self, stream: _Stream) -> None:
        for turn in self._turns.values():
            if turn.reply is None and turn.said:
                data: dict[str, object] = {"turn_id": turn.turn_id, "sequence": turn.next - 1, "text": turn.said}
                stream.put(_Event("delta", {**data, "restart": True}, len(self._log) - 1))

    def _refuse(self, request: web.Request, refusal: Refusal) -> web.Response:
        if refusal.status == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {} if refusal.retry_after_s is None else {"Retry-After": f"{refusal.retry_after_s:g}"}
        body = {"type": "about:blank", "status": refusal.status, "code": refusal.code, **refusal.more}
        return web.json_response(body, status=refusal.status, headers=headers, content_type="application/problem+json")

    async def _page(self, request: web.Request) -> web.StreamResponse:
        path = PAGES / (request.match_info.get("name") or {"/widget.js": "widget.js"}.get(request.path, "chat.html"))
        if path.parent != PAGES or not path.is_file():
            raise web.HTTPNotFound
        kind = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}[path.suffix]
        headers = {"Content-Security-Policy": CSP, "X-Content-Type-Options": "nosniff"}
        return web.Response(text=path.read_text(encoding="utf-8"), content_type=kind, charset="utf-8", headers=headers)

    async def _extra(self, request: web.Request) -> web.Response:
        text, headers = self.extra_pages[request.match_info["name"]]
        kind = "text/css" if request.path.endswith(".css") else "text/html"
        return web.Response(text=text, content_type=kind, charset="utf-8", headers=headers)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _Stream:
    """One connection to the events."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})

    def put(self, event: _Event) -> None:
        lines = [] if event.position is None else [f"id: {event.position + 1}"]
        lines += [f"event: {event.type}", f"data: {json.dumps(event.data, ensure_ascii=False)}", "", ""]
        self._queue.put_nowait("\n".join(lines).encode())

    def drop(self, cut: bytes) -> None:
        if cut:
            self._queue.put_nowait(cut)
        self._queue.put_nowait(None)

    async def run(self) -> None:
        await self.response.prepare(self._request)
        with suppress(ConnectionResetError):  # the page has left
            while (chunk := await self._queue.get()) is not None:
                await self.response.write(chunk)
        if self._request.transport is not None:
            # Not abort(): what was written before still has to arrive.
            self._request.transport.close()
