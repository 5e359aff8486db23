"""Failed turns and refused requests as OpenAI tells them. Pure."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from forebay.gateway.http.problem import Problem
from forebay.gateway.turns.underway import Underway

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 504: "timeout"}
_CODES = {401: "invalid_api_key", 413: "request_too_large", 429: "rate_limit_exceeded"}


def failure(turn: Underway, reply: dict[str, Any]) -> Problem | None:
    """Why a turn has no answer; None if it has one."""
    outcome = reply.get("outcome")
    if outcome not in ("expired", "failed"):
        return None
    error = reply.get("error") or {}
    # The client must not send it again by itself: this turn is over, and sent again it would be another one.
    return Problem(
        504 if outcome == "expired" else 502,
        error.get("message") or "the turn got no answer",
        code=error.get("code") or outcome,
        again=False,
        forebay=turn.extension(reply),
    )


def error_of(problem: Problem) -> dict[str, Any]:
    """The problem as the `error` of a body or of a chunk."""
    status, more = problem.status, problem.more
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    told = {"message": problem.detail, "type": kind, "param": more.get("param")}
    known = {name: more[name] for name in ("forebay", "estimated_wait_s") if name in more}
    return {"error": {**told, "code": _CODES.get(status, problem.code), **known}}


def refusal(problem: Problem) -> web.Response:
    """The response to a request that was refused."""
    headers = problem.headers()
    if problem.retry_after_s is not None:
        headers["retry-after-ms"] = str(max(1, math.ceil(problem.retry_after_s * 1000)))
    again = problem.more.get("again", None if problem.status != HTTPStatus.CONFLICT else False)
    if again is not None:
        headers["x-should-retry"] = "true" if again else "false"
    body = orjson.dumps(error_of(problem))
    return web.Response(status=problem.status, body=body, content_type="application/json", headers=headers)
