"""Clients that leave before they have the reply of their turn: whether that takes the turn back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.problem import Problem
from forebay.gateway.settings import OnDisconnect
from forebay.schemas import Turn


def takes_back(request: web.Request, said: OnDisconnect | None = None) -> bool:
    """Whether a client that leaves takes its turn back: by the body, else the header, else the setting. Raises Problem."""
    header = request.headers.get("Forebay-On-Disconnect")
    if header not in (None, "continue", "cancel"):
        raise Problem(400, "Forebay-On-Disconnect: continue or cancel")
    return (said or header or GatewayContext.of(request).settings.gateway_on_disconnect) == "cancel"


@contextmanager
def staying(request: web.Request, turn: Turn, caller: Caller, *, takes_back: bool) -> Iterator[None]:
    """While the client waits for its turn. One that leaves without the reply takes the turn back, if it ``takes_back``.

    Also when Kafka has not acknowledged the turn yet: a cancellation may come before its turn.
    """
    try:
        yield
    finally:
        hub = GatewayContext.of(request).hub
        gone = request.transport is None or request.transport.is_closing()
        if takes_back and gone and not hub.closing and hub.reply(turn.turn_id, turn.conversation_id) is None:
            GatewayContext.of(request).publisher.cancel_soon(turn.conversation_id, turn.turn_id, caller)
