"""Takes a customer's word on a reply."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.messages import FeedbackIn
from forebay.gateway.http.parsing import body_of, caller_of, checked_id, conversation_of, parse
from forebay.gateway.http.problem import Problem
from forebay.schemas import Feedback


async def post_feedback(request: web.Request) -> web.Response:
    """204 when Kafka has it; the last one of a turn counts. Raises Problem."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    conversation = conversation_of(request, caller)
    turn_id = checked_id(request.match_info["turn_id"], "the turn's id")
    sent = parse(FeedbackIn, await body_of(request, context.settings.gateway_body_s))
    if not caller.server and sent.user_id not in (None, caller.user_id):
        raise Problem(403, "user_id: a customer's is what the token says")
    word = Feedback(
        conversation_id=conversation,
        turn_id=turn_id,
        rating=sent.rating,
        text=sent.text,
        user_id=sent.user_id or caller.user_id,
        at=datetime.now(UTC),
    )
    context.publisher.admit(caller)
    await context.publisher.publish(context.cluster.topics.feedback, conversation, word)
    return web.Response(status=204)
