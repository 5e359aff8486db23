"""The HTTP application: its routes, and what applies to every response."""

from __future__ import annotations

from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from forebay.schemas import ClusterError

from . import metrics, openapi
from .console.api.routes import routes as console_routes
from .console.console import attach as attach_console
from .http.context import KEY, GatewayContext
from .http.problem import Problem, kafka_away
from .http.trace_middleware import traced
from .openai import chat_completions
from .pages import static
from .turns.cancel import post_cancel
from .turns.conversation import delete_conversation, get_conversation
from .turns.events import events
from .turns.feedback import post_feedback
from .turns.person_messages import post_message
from .turns.turns import get_turn, post_confirm, post_turn
from .turns.websocket import websocket
from .ui import message_stream

log = structlog.get_logger()

_ALLOWED = (
    "Authorization, Content-Type, Forebay-On-Disconnect, Idempotency-Key, Last-Event-ID, Prefer, X-Conversation-Id, "
    "traceparent, tracestate"
)
_EXPOSED = "Location, Retry-After"


def application(context: GatewayContext) -> web.Application:
    """Everything that the gateway serves."""
    app = web.Application(client_max_size=context.settings.gateway_body_kib * 1024, middlewares=[traced, _problems])
    app[KEY] = context
    app.on_response_prepare.append(_headers)
    app.add_routes(
        [
            web.get("/v1/conversations/{conversation_id}", get_conversation, allow_head=False),
            web.delete("/v1/conversations/{conversation_id}", delete_conversation),
            web.post("/v1/conversations/{conversation_id}/turns", post_turn),
            web.post("/v1/conversations/{conversation_id}/confirm", post_confirm),
            web.post("/v1/conversations/{conversation_id}/turns/{turn_id}/cancel", post_cancel),
            web.post("/v1/conversations/{conversation_id}/turns/{turn_id}/feedback", post_feedback),
            web.post("/v1/conversations/{conversation_id}/messages", post_message),
            web.get("/v1/conversations/{conversation_id}/events", events, allow_head=False),
            web.get("/v1/conversations/{conversation_id}/ws", websocket, allow_head=False),
            web.get("/v1/turns/{turn_id}", get_turn, allow_head=False),
            *console_routes(),
            *chat_completions.routes(),
            *message_stream.routes(),
            *openapi.routes(),
            *static.routes(),
        ]
    )
    attach_console(app, context)
    return app


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every failure into a problem response; a bug of ours is logged with its traceback."""
    try:
        _same_site(request)
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            return web.Response(status=204)  # `_headers` says what is allowed
        return await handler(request)
    except Problem as problem:
        response = problem.response()
    except web.HTTPException as error:
        response = _from_aiohttp(error)
    except ClusterError as error:
        log.warning("gateway.kafka_away", error=str(error))
        response = kafka_away().response()
    except Exception:  # a mistake of ours costs this request, not the connection's others
        log.exception("gateway.mistake", method=request.method, path=request.path)
        response = Problem(500, "a mistake of the gateway; its log says more", code="internal").response()
    metrics.REFUSED.labels(str(response.status)).inc()
    return response


def _from_aiohttp(error: web.HTTPException) -> web.Response:
    if error.status < 400:
        raise error
    details = {404: "there is nothing at this address: see /openapi.json", 413: "the body is too large"}
    response = Problem(error.status, details.get(error.status, error.text or error.reason)).response()
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _same_site(request: web.Request) -> None:
    """Refuses requests of foreign pages in the user's browser, where no token protects. Raises Problem.

    Any page may open WebSockets to any address, and may let a name of its own resolve to this machine.
    """
    context = GatewayContext.of(request)
    if context.settings.gateway_open and urlsplit(f"//{request.host}").hostname not in (
        "localhost",
        "127.0.0.1",
        "::1",
    ):
        raise Problem(403, "an open gateway is called by localhost or 127.0.0.1 only")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin in context.settings.origins or urlsplit(origin).netloc == request.host:
        return
    if context.settings.gateway_open or hdrs.UPGRADE in request.headers:
        raise Problem(403, "this origin is not in FOREBAY_GATEWAY_CORS")


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    """Adds the headers of every response."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers[hdrs.SERVER] = "forebay"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    origins = GatewayContext.of(request).settings.origins
    if not origins:
        return
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    if (origin := request.headers.get(hdrs.ORIGIN)) in origins:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
        if request.method == hdrs.METH_OPTIONS:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST, DELETE, OPTIONS"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _ALLOWED
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "600"
