"""A problem: why a request was not served, in a sentence for people and a code for programs (RFC 9457)."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

CODES = {
    400: "invalid",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "slow",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}
"""The code of each status, unless the problem names another."""


class Problem(Exception):
    """Raised by what a handler calls; the request is answered with its `response`."""

    def __init__(
        self, status: int, detail: str, *, code: str | None = None, retry_after_s: float | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code or CODES.get(status, "error")
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.more = more

    def fields(self) -> dict[str, Any]:
        """Its fields for JSON."""
        waiting = {} if self.retry_after_s is None else {"retry_after_s": round(self.retry_after_s, 3)}
        title = HTTPStatus(self.status).phrase
        told = {"status": self.status, "code": self.code, "detail": self.detail}
        return {"type": "about:blank", "title": title, **told, **waiting, **self.more}

    def headers(self) -> dict[str, str]:
        """Headers that tell the client when to try again, and how to authenticate."""
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="forebay"'
        return headers

    def response(self) -> web.Response:
        """The response with this problem."""
        return web.Response(
            status=self.status,
            body=orjson.dumps(self.fields()),
            content_type="application/problem+json",
            headers=self.headers(),
        )


def kafka_away(detail: str = "Kafka does not answer now", **more: Any) -> Problem:
    """The problem of a request that needs Kafka while it does not answer."""
    return Problem(503, detail, code="kafka_away", retry_after_s=2.0, **more)
