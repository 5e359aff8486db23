"""Takes what a person of the shop writes to the customer, from servers and operators."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.messages import PersonMessageIn, json_response
from forebay.gateway.http.parsing import body_of, caller_of, checked_id, parse, turn_id_of
from forebay.gateway.http.problem import Problem
from forebay.schemas import PersonMessage


async def post_message(request: web.Request) -> web.Response:
    """200 with the message when Kafka has it. Sent again with its id, or its idempotency key, it is shown once."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    if not (caller.server or caller.admin):
        raise Problem(403, "persons' messages are for servers with an API key and for operators")
    conversation = checked_id(request.match_info["conversation_id"], "the conversation's id")
    sent = parse(PersonMessageIn, await body_of(request, context.settings.gateway_body_s))
    made_id = turn_id_of(conversation, request.headers.get("Idempotency-Key"))
    message = PersonMessage(
        message_id=sent.message_id or made_id,
        conversation_id=conversation,
        name=sent.name,
        text=sent.text,
        at=datetime.now(UTC),
    )
    context.publisher.admit(caller)
    await context.publisher.publish(context.cluster.topics.messages, conversation, message)
    return json_response(message.model_dump(mode="json"))
