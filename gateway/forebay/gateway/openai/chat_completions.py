"""OpenAI's Chat Completions, for programs that use its SDK. A request is one turn of a conversation."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import wraps
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from forebay.gateway import metrics
from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.event_stream import HEADERS, HEARTBEAT, data, send
from forebay.gateway.http.messages import TurnIn, json_response
from forebay.gateway.http.parsing import body_of, caller_of, carried_headers, turn_of
from forebay.gateway.http.problem import Problem, kafka_away
from forebay.gateway.stream.event import ConversationEvent
from forebay.gateway.stream.words import PARAGRAPH, Draft, Shown
from forebay.gateway.turns.following import following, is_answer
from forebay.gateway.turns.leaving import staying, takes_back
from forebay.gateway.turns.underway import Underway
from forebay.schemas import ClusterError, Turn

from .attempts import RefusedRequests, earlier_attempt, is_retry, mark_of, marked_id
from .chat_completion import ChatCompletion
from .completion_request import ChatIn, conversation_of
from .refusals import error_of, failure, refusal

log = structlog.get_logger()


def routes() -> list[web.RouteDef]:
    """Routes of this API."""
    served = [
        web.post("/v1/chat/completions", _told(_Completions().post)),
        web.get("/v1/models", _told(models), allow_head=False),
        web.get("/v1/models/{model:.+}", _told(model), allow_head=False),
    ]
    allowed = {route.path: route.method for route in served}
    return served + [web.route("*", path, _told(_only(method))) for path, method in allowed.items()]


class _Completions:
    """Handles the completions of one gateway."""

    def __init__(self) -> None:
        self._refused = RefusedRequests()

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Sends one turn and responds with its completion, whole or in chunks. Raises Problem."""
        context = GatewayContext.of(request)
        caller = caller_of(request, context.access)
        body = await body_of(request, context.settings.gateway_body_s)
        sent = ChatIn.of(body)
        conversation, named_again = conversation_of(request, sent, caller)
        mark, leaving_ends = mark_of(conversation, body), takes_back(request, sent.on_disconnect)
        turn = _turn(caller, conversation, sent, request.headers.get("Idempotency-Key"), mark)
        try:
            with (
                context.connected(caller),
                staying(request, turn, caller, takes_back=leaving_ends),
            ):
                underway = await self._underway(request, turn, mark, caller if leaving_ends else None)
                async with following(context, underway) as events:
                    about = ChatCompletion(
                        underway, int(time.time()), context.settings.gateway_model, sent.include_usage
                    )
                    if sent.stream:
                        return await send(request, HEADERS, _chunks(about, events))
                    return await _whole(about, events, named_again=named_again)
        except Problem as problem:
            if "turn_id" not in problem.more and "forebay" not in problem.more:
                self._refused.add(conversation, mark)  # and Kafka has no turn of it
            raise

    async def _underway(self, request: web.Request, turn: Turn, mark: int, taking_back: Caller | None) -> Underway:
        """The turn of this request, accepted now or at an earlier attempt. Raises Problem.

        ``taking_back`` is the caller of a request that is over when it is left: then so is its earlier attempt.
        """
        context, conversation = GatewayContext.of(request), turn.conversation_id
        refused = self._refused.take(conversation, mark)
        if is_retry(request) and "Idempotency-Key" not in request.headers and not refused:
            earlier = earlier_attempt(context.hub, conversation, mark, time.time())
            if earlier is not None and taking_back is None:
                return Underway.found(earlier, conversation, context.settings.turn_ttl_s)
            if earlier is not None and taking_back is not None and earlier.turn_id is not None:
                context.publisher.cancel_soon(conversation, earlier.turn_id, taking_back)
        accepted = await context.submission.submit(turn, carried_headers(request), api="openai")
        return Underway.of(accepted, context.settings.turn_ttl_s)


async def models(request: web.Request) -> web.Response:
    """The only model: the assistant chooses which models answer."""
    context = GatewayContext.of(request)
    caller_of(request, context.access)
    return json_response({"object": "list", "data": [_model(context.settings.gateway_model)]})


async def model(request: web.Request) -> web.Response:
    """The model of that name. Raises Problem."""
    context = GatewayContext.of(request)
    caller_of(request, context.access)
    name = request.match_info["model"]
    if name != context.settings.gateway_model:
        raise Problem(
            404, f"the one model here is {context.settings.gateway_model}", code="model_not_found", param="model"
        )
    return json_response(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "forebay"}


def _turn(caller: Caller, conversation: str, sent: ChatIn, key: str | None, mark: int) -> Turn:
    said = TurnIn(
        text=sent.text(),
        turn_id=marked_id(mark) if key is None else None,
        stream=bool(sent.stream),
        when_busy=sent.when_busy,
        user_id=sent.user if caller.server else None,
    )
    return turn_of(said, caller, conversation, key)


async def _whole(about: ChatCompletion, events: AsyncIterator[ConversationEvent], *, named_again: bool) -> web.Response:
    try:
        async for event in events:
            if is_answer(event):
                problem = failure(about.turn, event.data["reply"])
                if problem is not None:
                    raise problem
                return json_response(about.whole(event.data["reply"]))
    except Problem as problem:
        # Kafka has the turn. A retry joins it in a conversation that the client names; elsewhere it would be a second one.
        problem.more.setdefault("again", named_again and problem.status == 503)
        raise
    raise AssertionError("a turn's events end with its reply, or raise")


async def _chunks(about: ChatCompletion, events: AsyncIterator[ConversationEvent]) -> AsyncGenerator[bytes]:
    """The chunks. Words that were sent cannot be taken back: a text that starts again becomes a new paragraph."""
    draft, shown = Draft(), Shown()
    yield data(about.chunk({"role": "assistant", "content": ""}))
    try:
        async for event in events:
            if event.name == "heartbeat":
                yield HEARTBEAT
            elif event.name == "delta" and draft.take(
                event.data["sequence"], event.data["text"], restart=event.data["restart"]
            ):
                for chunk in _content(about, shown, draft.text):
                    yield chunk
            elif is_answer(event):
                reply = event.data["reply"]
                problem = failure(about.turn, reply)
                if problem is not None:
                    raise problem
                # What was cancelled ends with the words that were shown, even if the last of them were not kept.
                for chunk in _content(about, shown, reply["text"], final=reply["outcome"] != "cancelled"):
                    yield chunk
                for ended in about.last(reply):
                    yield data(ended)
                yield b"data: [DONE]\n\n"
    except Problem as problem:
        yield data(error_of(problem))


def _content(about: ChatCompletion, shown: Shown, text: str, *, final: bool = False) -> list[bytes]:
    piece = shown.piece(text, final=final)
    words = PARAGRAPH + piece.text if piece.anew else piece.text
    return [data(about.chunk({"content": words}))] if words else []


def _told(handler: Handler) -> Handler:
    """The handler, with failures in OpenAI's form."""

    @wraps(handler)
    async def telling(request: web.Request) -> web.StreamResponse:
        allow = {}
        try:
            return await handler(request)
        except Problem as error:
            problem = error
        except ClusterError as error:
            log.warning("gateway.kafka_away", error=str(error))
            problem = kafka_away()
        except web.HTTPException as error:
            if error.status < 400:
                raise
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            problem = Problem(error.status, _DETAILS.get(error.status, error.reason))
        metrics.REFUSED.labels(str(problem.status)).inc()
        response = refusal(problem)
        response.headers.update(allow)
        return response

    return telling


_DETAILS = {413: "the body is too large: send the last message alone, the conversation knows the others"}


def _only(method: str) -> Handler:
    async def not_allowed(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, [method])

    return not_allowed
