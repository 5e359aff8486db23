"""The OpenAPI 3.1 document of the gateway, made from the models that parse the requests."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from aiohttp import web
from pydantic.json_schema import models_json_schema

from forebay.schemas import PersonMessage
from forebay.schemas.version import VERSION

from .http.messages import ConfirmIn, FeedbackIn, PersonMessageIn, ProblemOut, TurnIn, TurnOut, json_response
from .openai.completion_request import ChatIn
from .ui.chat_request import UiChatIn

_SENT = (TurnIn, ConfirmIn, FeedbackIn, PersonMessageIn, ChatIn, UiChatIn)
_IDENTIFIER = {"type": "string", "minLength": 1, "maxLength": 128}
_EVENT_ID = {"type": "string", "pattern": r"^[0-9]{1,18}-[0-9]{1,18}(-[0-9]{1,18}-[0-9]{1,18})?$"}
_EVENT = {"type": "object", "properties": {name: {"type": "string"} for name in ("event", "id", "data")}}
_EVENTS = (
    "`event: open | turn | queued | started | delta | confirmation_required | done | message`, each with JSON in `data`; "
    "`open`, `turn`, `delta`, `done` and `message` carry ids to go on from at any gateway."
)


def routes() -> list[web.RouteDef]:
    """Route of the document."""
    return [web.get("/openapi.json", openapi)]


async def openapi(_: web.Request) -> web.Response:
    """The document."""
    return json_response(document())


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    sent: list[Any] = [(model, "validation") for model in _SENT]
    told: list[Any] = [(model, "serialization") for model in (TurnOut, PersonMessage, ProblemOut)]
    _, schemas = models_json_schema([*sent, *told], ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Forebay gateway",
            "version": VERSION,
            "description": "Chat turns in, events and replies out. What lies behind it is Kafka; no client needs to know.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "paths": _paths(),
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token (JWT) of a customer, or an API key of a server.",
                }
            },
        },
    }


def _paths() -> dict[str, Any]:
    conversation = [_parameter("conversation_id", "path", _IDENTIFIER)]
    resuming = [
        _parameter("Last-Event-ID", "header", _EVENT_ID, "Where the client was."),
        _parameter("last_event_id", "query", _EVENT_ID, "The same, for clients that cannot set the header."),
    ]
    known = [
        _parameter("turn_id", "path", _IDENTIFIER),
        _parameter("conversation_id", "query", _IDENTIFIER, "Needed for turns older than some minutes."),
    ]
    stream = {"200": {"description": _EVENTS, "content": {"text/event-stream": {"schema": _EVENT}}}}
    upgraded = {"101": {"description": "The same events as JSON messages; turns and confirmations the other way."}}
    return {
        "/v1/conversations/{conversation_id}": _stored(conversation),
        "/v1/conversations/{conversation_id}/turns": {
            "post": _sending("sendTurn", "Send a turn", "TurnIn", conversation)
        },
        "/v1/conversations/{conversation_id}/confirm": {
            "post": _sending("confirm", "Agree to a pending action, or decline it", "ConfirmIn", conversation)
        },
        "/v1/conversations/{conversation_id}/turns/{turn_id}/cancel": {"post": _cancelling(conversation)},
        "/v1/conversations/{conversation_id}/turns/{turn_id}/feedback": {"post": _rating(conversation)},
        "/v1/conversations/{conversation_id}/messages": {"post": _writing(conversation)},
        "/v1/conversations/{conversation_id}/events": {
            "get": _operation(
                "events", "What happens in a conversation", conversation + resuming, stream, (400, 403, 429)
            )
        },
        "/v1/conversations/{conversation_id}/ws": {
            "get": _operation(
                "connect", "Events and turns on one WebSocket", conversation + resuming, upgraded, (400, 403)
            )
        },
        "/v1/turns/{turn_id}": {
            "get": _operation(
                "turn", "How a turn stands", known, {"200": _answer("TurnOut", "How it stands.")}, (400, 404)
            )
        },
        **_foreign(),
        "/openapi.json": {
            "get": _operation("openapi", "This document", [], {"200": {"description": "OpenAPI 3.1."}}, ())
        },
    }


def _cancelling(conversation: list[dict[str, Any]]) -> dict[str, Any]:
    answers = {
        "200": _answer("TurnOut", "Its reply: `cancelled`, or another one that it had before."),
        "202": _answer("TurnOut", "Kafka has the cancellation; the turn has no reply yet."),
    }
    named = [*conversation, _parameter("turn_id", "path", _IDENTIFIER)]
    return _operation("cancel", "Take a turn back", named, answers, (400, 403, 429, 503))


def _stored(conversation: list[dict[str, Any]]) -> dict[str, Any]:
    page = [
        *conversation,
        _parameter(
            "before",
            "query",
            {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
            "`before` of the page that was read last.",
        ),
        _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 200}, "Exchanges; default 50."),
    ]
    content = {"application/json": {"schema": {"type": "object"}}}
    said = {"200": {"description": "`exchanges` oldest first, `before` of the next older page.", "content": content}}
    receipt = {"200": {"description": "What was removed, and what is held where until when.", "content": content}}
    return {
        "get": _operation("conversation", "What was said", page, said, (400, 403, 503)),
        "delete": _operation("erase", "Erase it; for servers and operators", conversation, receipt, (400, 403, 503)),
    }


def _rating(conversation: list[dict[str, Any]]) -> dict[str, Any]:
    named = [*conversation, _parameter("turn_id", "path", _IDENTIFIER)]
    taken = {"204": {"description": "Kafka has it. The last one of a turn counts."}}
    operation = _operation("feedback", "Rate a reply", named, taken, (400, 403, 408, 413, 415, 429, 503))
    return {**operation, **_body("FeedbackIn")}


def _writing(conversation: list[dict[str, Any]]) -> dict[str, Any]:
    key = {"type": "string", "minLength": 1, "maxLength": 255}
    named = [*conversation, _parameter("Idempotency-Key", "header", key, "Repeated it is one message.")]
    taken = {"200": _answer("PersonMessage", "Kafka has the message.")}
    operation = _operation("message", "A person's message", named, taken, (400, 403, 408, 413, 415, 429, 503))
    return {**operation, **_body("PersonMessageIn")}


def _foreign() -> dict[str, Any]:
    """The APIs of OpenAI and of the AI SDK, as far as this gateway reads them."""
    naming = [
        _parameter("X-Conversation-Id", "header", _IDENTIFIER, "The conversation; else `user`, else a new one."),
        _LEAVING,
    ]
    chunks = {"text/event-stream": {"schema": _EVENT}}
    anything = {"application/json": {"schema": {"type": "object"}}}
    completion = {"200": {"description": "A chat completion, or its chunks.", "content": {**anything, **chunks}}}
    listed = {"200": {"description": "As OpenAI lists models.", "content": anything}}
    parts = {"200": {"description": "The answer as the AI SDK's UI message stream.", "content": chunks}}
    idle = {**parts, "204": {"description": "No answer is under way."}}
    chat = [_parameter("id", "path", _IDENTIFIER)]
    stopped = {
        "202": {"description": "The turns that are taken back.", "content": anything},
        "204": {"description": "No answer is under way."},
    }
    talking = _operation("chat", "The AI SDK's `useChat`", [_LEAVING], parts, (400, 403, 408, 409, 413, 415, 429, 503))
    return {
        "/v1/chat/completions": {
            "post": {**_as_openai("complete", "OpenAI's chat completions", naming, completion), **_body("ChatIn")}
        },
        "/v1/models": {"get": _as_openai("models", "The assistant", [], listed)},
        "/v1/models/{model}": {
            "get": _as_openai("model", "The assistant", [_parameter("model", "path", {"type": "string"})], listed)
        },
        "/v1/ui/chat": {"post": {**talking, **_body("UiChatIn")}},
        "/v1/ui/chat/{id}/stream": {"get": _operation("resume", "Goes on", chat, idle, (400, 403, 429))},
        "/v1/ui/chat/{id}/stop": {
            "post": _operation("stop", "Take back what has no answer", chat, stopped, (400, 403, 429, 503))
        },
    }


def _as_openai(name: str, summary: str, parameters: list[dict[str, Any]], answers: dict[str, Any]) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "object"}} for kind in ("application/json", "application/problem+json")}
    refusal = {"description": "Refused in OpenAI's form.", "content": content}
    refused = {str(status): refusal for status in (400, 401, 403, 404, 408, 409, 413, 415, 429, 502, 503, 504)}
    return {**_operation(name, summary, parameters, answers, ()), "responses": {**answers, **refused}}


def _body(model: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
    return {"requestBody": {"required": True, "content": content}}


def _sending(name: str, summary: str, body: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    key = {"type": "string", "minLength": 1, "maxLength": 255}
    more = [
        _parameter("Idempotency-Key", "header", key, "Repeated with the same body it is one turn."),
        _parameter("wait", "query", {"type": "integer", "minimum": 0, "maximum": 120}, "Like `wait` in the body."),
        _parameter("Prefer", "header", {"type": "string"}, "`wait=30`: like `wait` in the body."),
        _LEAVING,
    ]
    answers = {
        "200": _answer("TurnOut", "The reply came within `wait`."),
        "202": {
            **_answer("TurnOut", "Kafka has the turn, on all in-sync replicas."),
            "headers": {"Location": {"schema": {"type": "string"}, "description": "How the turn stands."}},
        },
    }
    operation = _operation(name, summary, parameters + more, answers, (400, 403, 408, 409, 413, 415, 429, 503))
    return {**operation, **_body(body)}


def _operation(
    name: str, summary: str, parameters: list[dict[str, Any]], answers: dict[str, Any], problems: tuple[int, ...]
) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
    refused = {
        str(status): {"description": "Not served; `code` says why.", "content": content} for status in (401, *problems)
    }
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": {**answers, **refused}}


def _answer(model: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
    return {"description": description, "content": content}


def _parameter(name: str, where: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    said = {"description": description} if description else {}
    return {"name": name, "in": where, "required": where == "path", "schema": schema, **said}


_LEAVING = _parameter(
    "Forebay-On-Disconnect",
    "header",
    {"enum": ["continue", "cancel"]},
    "Whether a client that leaves while it waits takes its turn back; the body's `on_disconnect` goes before it.",
)
