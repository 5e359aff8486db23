"""HTTP/1.1 requests as parsed, and answers as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Largest request body, as the real Messages API has it."""
JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
LAST_CHUNK = b"0\r\n\r\n"

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(slots=True)
class HttpRequest:
    """One request, read to its end."""

    method: str
    path: str
    """Without the query."""
    query: str
    headers: dict[bytes, bytes]
    """The few headers that matter, names in lower case."""
    body: bytes
    keep_alive: bool
    http_1_1: bool
    too_large: bool = False
    """Whether the body exceeded the limit; it is then left out and the connection cannot go on."""


def head(request: HttpRequest, status: int, content_type: bytes, framing: bytes, extra: bytes = b"") -> bytes:
    """Status line and headers. `framing` and `extra` are header lines, each ended by CRLF."""
    connection = b""
    if not request.keep_alive:
        connection = b"connection: close\r\n"
    elif not request.http_1_1:
        connection = b"connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b%b%b\r\n" % (
        status,
        _REASONS.get(status, b"Unknown"),
        content_type,
        framing,
        connection,
        extra,
    )


def whole(request: HttpRequest, status: int, body: bytes, extra: bytes = b"", content_type: bytes = JSON) -> bytes:
    """A complete answer with a body, which a HEAD request does not get."""
    top = head(request, status, content_type, b"content-length: %d\r\n" % len(body), extra)
    return top if request.method == "HEAD" else top + body


def stream_head(request: HttpRequest, extra: bytes) -> bytes:
    """The head of an event stream: chunked, or until the connection closes for HTTP/1.0."""
    framing = b"transfer-encoding: chunked\r\n" if request.http_1_1 else b""
    return head(request, HTTPStatus.OK, EVENT_STREAM, b"cache-control: no-cache\r\n" + framing, extra)


def chunk(request: HttpRequest, data: bytes) -> bytes:
    """A piece of an event stream, framed as the request's HTTP version needs it."""
    return b"%x\r\n%b\r\n" % (len(data), data) if request.http_1_1 else data
