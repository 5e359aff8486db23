"""Who may use the console: callers with ``admin``, from the console's own page or outside a browser."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import hdrs, web

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.parsing import caller_of
from forebay.gateway.http.problem import Problem, kafka_away
from forebay.schemas import ClusterError


def explained(error: ClusterError) -> Problem:
    """The problem with its whole explanation: an operator can repair Kafka."""
    return kafka_away(str(error))


def admin_of(request: web.Request) -> Caller:
    """The caller, who is an admin. Raises Problem.

    The key comes in a header and never in the address, which proxies log. No other page may call, not even one that may
    send turns: a shop's page must not reach the console.
    """
    if "access_token" in request.query:
        raise Problem(401, "the console takes its key as Authorization: Bearer ..., never in an address")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Problem(403, "the console is called by its own page only")
    caller = caller_of(request, GatewayContext.of(request).access)
    if not caller.admin:
        raise Problem(403, "the console is for operators: FOREBAY_GATEWAY_ADMIN_KEYS, or a token with scope admin")
    return caller
