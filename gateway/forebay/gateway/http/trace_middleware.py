"""The gateway's span in a trace: one for each POST. Streams that are only read have none."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from forebay.telemetry import tracing

from .parsing import carried_headers


@web.middleware
async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Continues the caller's trace or starts one, as HTTP servers do. The query is left out: it may hold a token."""
    if tracing.tracer is None or request.method != hdrs.METH_POST:
        return await handler(request)
    resource = request.match_info.route.resource
    attributes = {"http.request.method": request.method, "url.scheme": request.scheme, "url.path": request.path}
    if resource is not None:
        attributes["http.route"] = resource.canonical
    name = " ".join((request.method, *([resource.canonical] if resource else ())))
    with tracing.tracer.start(name, "server", attributes, carried_headers(request)) as span:
        response = await handler(request)
        span.set({"http.response.status_code": response.status})
        if response.status >= 500:
            span.failed(str(response.status))
        return response
