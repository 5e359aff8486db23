"""WebSocket: turns in and events out on one connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.event_stream import STUCK_S
from forebay.gateway.http.messages import ConfirmIn, TurnIn
from forebay.gateway.http.parsing import caller_of, checked_id, conversation_of, parse, turn_of
from forebay.gateway.http.problem import Problem
from forebay.gateway.stream.event import ConversationEvent
from forebay.gateway.stream.subscription import Subscription

from .cancel import cancelled
from .events import cursor_of, subscribed

PROTOCOL = "forebay.v1"
SILENT_S = 60.0
"""How long a client may send nothing, not even a pong, in seconds."""
_CLOSE_CODES = {400: 4400, 401: 4401, 403: 4403, 429: 4429}
"""Close codes by the status that an HTTP request would get."""


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Serves one connection until either side closes it."""
    context = GatewayContext.of(request)
    socket = web.WebSocketResponse(
        autoping=False,  # pings go with our heartbeats, a slice of the connections at a time; aiohttp's come all at once
        protocols=[PROTOCOL],
        compress=False,  # each connection would hold 64 KiB of window
        max_msg_size=context.settings.gateway_body_kib * 1024,
    )
    if not socket.can_prepare(request):
        raise Problem(400, "this address is for WebSockets: connect with ws:// or wss://")
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
    if offered and PROTOCOL not in offered:
        # aiohttp would log what was offered instead, a token perhaps.
        raise Problem(400, f"the subprotocol here is {PROTOCOL}: offer it, beside bearer.<token>")
    await socket.prepare(request)
    async with AsyncExitStack() as leaving:
        try:
            # Only now, as a close code: browsers hide from a page why a WebSocket was not opened.
            caller = caller_of(request, context.access)
            conversation = conversation_of(request, caller)
            subscription = await leaving.enter_async_context(
                subscribed(context, caller, conversation, cursor_of(request))
            )
        except Problem as problem:
            await _close(socket, _CLOSE_CODES.get(problem.status, 1011), problem.detail)
            return socket
        listener = _Listener(context, caller, conversation, socket)
        telling = asyncio.create_task(_tell(socket, subscription, caller, listener), name="gateway.websocket")
        try:
            await listener.listen()
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
    return socket


async def _tell(socket: web.WebSocketResponse, subscription: Subscription, caller: Caller, listener: _Listener) -> None:
    """Sends the events; closes the connection after the last."""
    try:
        while told := await subscription.events():
            if caller.expires_at <= time.time():
                return await _close(socket, 4401, "the token has expired")
            async with asyncio.timeout(STUCK_S):
                for event in told:
                    if event.name == "heartbeat":
                        if time.monotonic() - listener.heard_at > SILENT_S:
                            return await _close(socket, 4408, "nothing came for too long")
                        await socket.ping()
                    await socket.send_str(event.message().decode())
    except (ConnectionError, TimeoutError):
        return await _close(socket, 1013, "it read too slowly: come back with the last event id")
    if subscription.overrun:
        return await _close(socket, 1013, "it read too slowly: come back with the last event id")
    return await _close(socket, 1001, "this gateway is leaving: come back with the last event id")


async def _close(socket: web.WebSocketResponse, code: int, reason: str) -> None:
    # A close frame's reason has 123 bytes at most (RFC 6455, 5.5.1).
    await socket.close(code=code, message=reason.encode()[:123])


class _Listener:
    """Takes the messages of the client."""

    def __init__(
        self, context: GatewayContext, caller: Caller, conversation: str, socket: web.WebSocketResponse
    ) -> None:
        self._context, self._caller, self._conversation, self._socket = context, caller, conversation, socket
        self.heard_at = time.monotonic()
        """When the last message came, a pong too."""

    async def listen(self) -> None:
        """Runs until the connection ends. A message that cannot be served gets an error, and the connection stays open."""
        async for message in self._socket:
            self.heard_at = time.monotonic()
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            turn_id = None
            try:
                fields = _object(message.data)
                turn_id = fields.get("turn_id")
                answer = await self._answer(fields)
            except Problem as problem:
                named = {"turn_id": turn_id} if isinstance(turn_id, str) else {}
                answer = {**problem.fields(), **named, "type": "error"}
            try:
                await self._socket.send_str(orjson.dumps(answer).decode())
            except ConnectionError:
                return

    async def _answer(self, fields: dict[str, Any]) -> dict[str, Any]:
        kind = fields.get("type")
        if kind == "ping":
            return orjson.loads(ConversationEvent("heartbeat", {}).message())  # type: ignore[no-any-return]
        if kind == "cancel":
            return await self._cancel(fields.get("turn_id"))
        if kind not in ("turn", "confirm"):
            raise Problem(400, "type: turn, confirm, cancel or ping")
        body = orjson.dumps({"stream": True, **fields})
        sent = parse(TurnIn, body) if kind == "turn" else parse(ConfirmIn, body)
        turn = turn_of(sent, self._caller, self._conversation)
        accepted = await self._context.submission.submit(turn, api="websocket")
        return {
            "type": "accepted",
            "turn_id": turn.turn_id,
            "stream": accepted.turn.stream,
            "place": self._context.hub.place(accepted.request),
            "event_id": str(accepted.cursor),
        }

    async def _cancel(self, turn_id: object) -> dict[str, Any]:
        """Takes the turn back; how it ended, its `done` says, which was told already where there is a `reply`."""
        if not isinstance(turn_id, str):
            raise Problem(400, "turn_id: which turn is taken back?")
        checked_id(turn_id, "turn_id")
        reply = await cancelled(self._context, self._caller, self._conversation, turn_id, 0.0)
        return {"type": "cancelling", "turn_id": turn_id, **({"reply": reply} if reply is not None else {})}


def _object(data: str | bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the message is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Problem(400, "the message is no JSON object")
    return fields
