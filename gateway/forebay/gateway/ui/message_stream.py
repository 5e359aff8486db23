"""The AI SDK's UI message stream, for pages that use `useChat`. A message of the user is one turn.

The protocol is that of `ai` 7: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from aiohttp import web

from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.event_stream import HEADERS, HEARTBEAT, data, send
from forebay.gateway.http.messages import json_response
from forebay.gateway.http.parsing import body_of, caller_of, carried_headers, checked_id, opened, parse, turn_of
from forebay.gateway.http.problem import Problem
from forebay.gateway.stream.event import ConversationEvent
from forebay.gateway.stream.words import Draft, Shown
from forebay.gateway.turns.following import following, is_answer
from forebay.gateway.turns.leaving import staying, takes_back
from forebay.gateway.turns.underway import Underway, finish_reason

from .chat_request import UiChatIn, answer_id

UI_HEADERS = {**HEADERS, "x-vercel-ai-ui-message-stream": "v1"}


def routes() -> list[web.RouteDef]:
    """Routes of this API."""
    return [
        web.post("/v1/ui/chat", chat),
        web.get("/v1/ui/chat/{id}/stream", resume, allow_head=False),
        web.post("/v1/ui/chat/{id}/stop", stop),
    ]


async def chat(request: web.Request) -> web.StreamResponse:
    """Sends one turn and streams its answer in parts. Raises Problem."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    sent = parse(UiChatIn, await body_of(request, context.settings.gateway_body_s))
    conversation = opened(sent.id, caller)
    key = request.headers.get("Idempotency-Key")
    turn = turn_of(sent.turn(keyed=key is not None), caller, conversation, key)
    with context.connected(caller), staying(request, turn, caller, takes_back=takes_back(request, sent.on_disconnect)):
        accepted = await context.submission.submit(turn, carried_headers(request), api="ui")
        underway = Underway.of(accepted, context.settings.turn_ttl_s)
        async with following(context, underway) as events:
            return await send(request, UI_HEADERS, _Answer(underway, sent.answer_id(turn.turn_id)).parts(events))


async def resume(request: web.Request) -> web.StreamResponse:
    """Streams the unfinished answer from its first word on; 204 when there is none. Raises Problem."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    conversation = opened(checked_id(request.match_info["id"], "the chat's id"), caller)
    waiting = [
        Underway.found(record, conversation, context.settings.turn_ttl_s)
        for record in context.hub.unanswered(conversation).values()
    ]
    if not waiting or waiting[-1].until <= time.time():
        return web.Response(status=204)
    turn = waiting[-1]
    with context.connected(caller):
        async with following(context, turn) as events:
            return await send(request, UI_HEADERS, _Answer(turn, answer_id(turn.turn_id)).parts(events))


async def stop(request: web.Request) -> web.Response:
    """Takes back all turns of the chat that have no answer yet: 202 with their ids, 204 when there is none. Raises Problem.

    The page's `stop()` only closes its connection, which a reload does as well; this is what tells them apart.
    """
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    conversation = opened(checked_id(request.match_info["id"], "the chat's id"), caller)
    waiting = list(context.hub.unanswered(conversation))
    for turn_id in waiting:
        await context.publisher.cancel(conversation, turn_id, caller)
    return json_response({"turn_ids": waiting}, 202) if waiting else web.Response(status=204)


class _Answer:
    """Makes the parts of a message from a turn's events."""

    def __init__(self, turn: Underway, message_id: str) -> None:
        self._turn, self._message_id = turn, message_id
        self._draft, self._shown = Draft(), Shown()
        self._texts = 0
        self._begun = self._writing = False

    async def parts(self, events: AsyncIterator[ConversationEvent]) -> AsyncGenerator[bytes]:
        """The parts, to the end of the turn."""
        try:
            async for event in events:
                if event.name == "heartbeat":
                    yield HEARTBEAT
                else:
                    for part in self._of(event):
                        yield data(part)
        except Problem as problem:
            yield data({"type": "error", "errorText": problem.detail})
        yield b"data: [DONE]\n\n"

    def _of(self, event: ConversationEvent) -> list[dict[str, Any]]:
        said = event.data
        if event.name in ("queued", "started"):
            return [{"type": f"data-{event.name}", "data": said, "transient": True}]
        if event.name == "delta" and self._draft.take(said["sequence"], said["text"], restart=said["restart"]):
            return self._words(self._draft.text)
        if is_answer(event):
            return self._ending(said["reply"])
        return []

    def _words(self, text: str, *, final: bool = False) -> list[dict[str, Any]]:
        piece = self._shown.piece(text, final=final)
        if not piece.text and not piece.anew:
            return []
        told = self._start()
        if piece.anew:
            told.append({"type": "reset-step"})
            self._writing = False
        if not self._writing:
            self._writing, self._texts = True, self._texts + 1
            told.append({"type": "text-start", "id": self._text_id})
        return [*told, {"type": "text-delta", "id": self._text_id, "delta": piece.text}]

    def _ending(self, reply: dict[str, Any]) -> list[dict[str, Any]]:
        about = self._turn.extension(reply)
        if reply["outcome"] in ("expired", "failed"):
            return [{"type": "error", "errorText": reply["text"] or (reply.get("error") or {}).get("message", "")}]
        stopped = reply["outcome"] == "cancelled"
        told = self._words(reply["text"], final=not stopped) or self._start()
        if self._writing:
            told.append({"type": "text-end", "id": self._text_id})
        if stopped:
            metadata = {"type": "message-metadata", "messageMetadata": about}
            return [*told, {"type": "finish-step"}, metadata, {"type": "abort", "reason": "cancelled"}]
        if reply["outcome"] == "confirmation_required":
            action = reply["action"]
            told.append({"type": "data-confirmation", "id": action["action_id"], "data": action})
        if reply["outcome"] == "handed_off":
            told.append({"type": "data-handoff", "data": {"reason": reply.get("finish_reason")}})
        told.append({"type": "finish-step"})
        return [*told, {"type": "finish", "finishReason": finish_reason(reply), "messageMetadata": about}]

    def _start(self) -> list[dict[str, Any]]:
        """Starts the message with its first word: until then the page shows that it waits."""
        if self._begun:
            return []
        self._begun = True
        about = self._turn.extension(None)
        start = {"type": "start", "messageId": self._message_id, "messageMetadata": about}
        # A step of its own, so that `reset-step` takes back this answer's words and nothing else.
        return [start, {"type": "start-step"}]

    @property
    def _text_id(self) -> str:
        return f"text-{self._texts}"
