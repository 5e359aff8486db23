"""One client connection: parses requests, performs the plans that answer them, one after another."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from forebay.rehearsal.model_api.service import Service

from .endless_stream import EndlessStream
from .http_message import MAX_BODY_BYTES, HttpRequest, whole
from .response_plan import Ending, ResponsePlan

MAX_PIPELINED = 64
"""Requests read ahead of their answers; beyond that the connection is not read."""

_WANTED = frozenset({b"x-api-key", b"authorization", b"anthropic-version", b"expect", b"content-length"})


class ClientConnection(asyncio.Protocol):
    """Callbacks of the transport and of the HTTP parser. No task per request: waits are timers."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop, opened: set[ClientConnection]) -> None:
        self._service = service
        self._loop = loop
        self._opened = opened
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[HttpRequest] = deque()
        self._plan: ResponsePlan | None = None
        self._step = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unread = False
        """Whether the client leaves so much unread that it gets no further answers for now."""
        self._deaf = False
        """Whether further input is thrown away, because the connection is about to close."""
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; an answer it did not wait for is abandoned."""
        self._transport = None
        self._opened.discard(self)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        plan, self._plan = self._plan, None
        if isinstance(plan, EndlessStream):
            plan.leave()
        if plan is not None and plan.provider is not None:
            self._service.admission.drop(self._release)
            waits = plan.ending in (Ending.HANG, Ending.HOLD)
            self._service.finish(plan, plan.outcome if waits else "abandoned")

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._deaf:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reject()
        self._pump()

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        self._unread = True
        self._read_or_not()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._unread = False
        self._pump()

    def _read_or_not(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._unread or len(self._waiting) >= MAX_PIPELINED:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # The parser's side.

    def on_message_begin(self) -> None:
        """A request starts."""
        self._url, self._headers, self._body, self._body_bytes = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, of which few matter."""
        name = name.lower()
        if name in _WANTED:
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Answer `Expect: 100-continue` before the body comes."""
        if self._headers.get(b"expect", b"").lower() != b"100-continue":
            return
        if int(self._headers.get(b"content-length", b"0")) > MAX_BODY_BYTES:
            self._body_bytes = MAX_BODY_BYTES + 1
            self._queue_request()
            self._deaf = True
        elif self._plan is None and not self._waiting and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body; one over the limit is read to its end and thrown away, so that the 413 arrives."""
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._body.clear()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._deaf:
            self._queue_request()

    def _queue_request(self) -> None:
        parser = self._parser
        path, _, query = self._url.decode("latin-1").partition("?")
        too_large = self._body_bytes > MAX_BODY_BYTES
        self._waiting.append(
            HttpRequest(
                method=parser.get_method().decode("latin-1"),
                path=path,
                query=query,
                headers=self._headers,
                body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
                keep_alive=parser.should_keep_alive() and not too_large,
                http_1_1=parser.get_http_version() == "1.1",
                too_large=too_large,
            )
        )
        if len(self._waiting) == MAX_PIPELINED:
            self._read_or_not()

    def _reject(self) -> None:
        """What came is no HTTP."""
        self._deaf = True
        if self._transport is not None and not self._transport.is_closing() and self._plan is None:
            nothing = HttpRequest("GET", "", "", {}, b"", keep_alive=False, http_1_1=True)
            self._transport.write(whole(nothing, 400, b'{"error":"not an HTTP/1.1 request"}'))
            self._transport.close()

    # Performing plans.

    def _pump(self) -> None:
        """Answer what waits, in order, until an answer takes time."""
        while self._waiting and self._plan is None and not self._unread and self._transport is not None:
            if self._transport.is_closing():
                self._waiting.clear()
                return
            self._plan, self._step = self._service.answer(self._waiting.popleft()), 0
            self._perform()
        if self._transport is not None and not self._transport.is_reading():
            self._read_or_not()

    def _perform(self, waited: bool = False) -> None:
        """Write the steps that are due; `waited` tells that the next one's wait is over."""
        plan, transport = self._plan, self._transport
        if plan is None or transport is None:
            return
        steps = plan.steps
        due: list[bytes] = []
        while self._step < len(steps):
            delay_s, data = steps[self._step]
            if delay_s > 0 and not waited:
                self._timer = self._loop.call_later(delay_s, self._wake)
                break
            waited = False
            due.append(data)
            self._step += 1
        if due:
            transport.write(due[0] if len(due) == 1 else b"".join(due))
        if self._step == len(steps):
            self._finish(plan, transport)

    def _wake(self) -> None:
        self._timer = None
        self._perform(waited=True)
        self._pump()

    def _release(self) -> None:
        """The outage that held this call is over."""
        if self._plan is not None and self._plan.again is not None:
            self._plan, self._step = self._plan.again(), 0
            self._perform()
            self._pump()

    def _finish(self, plan: ResponsePlan, transport: asyncio.Transport) -> None:
        if plan.ending is Ending.HANG:
            if isinstance(plan, EndlessStream):
                plan.join(transport)
            return
        if plan.ending is Ending.HOLD:
            self._service.admission.hold(self._release)
            return
        self._plan = None
        if plan.provider is not None:
            self._service.finish(plan, plan.outcome)
        if plan.ending is Ending.CLOSE:
            self._deaf = True
            transport.close()
