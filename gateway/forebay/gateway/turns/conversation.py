"""A conversation as the store has it: what was said in it, and its erasure."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web

from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.messages import json_response
from forebay.gateway.http.parsing import caller_of, checked_id, conversation_of
from forebay.gateway.http.problem import Problem
from forebay.gateway.http.store_access import no_store
from forebay.operations.erasure import Receipt, erase
from forebay.workers.conversations import HistoryPage, Remembered, StoreError
from forebay.workers.conversations.redaction.restoring import restore
from forebay.workers.conversations.redaction.vault import Vault

log = structlog.get_logger()

SHOWN = 50
MOST = 200
_NUMBER = re.compile("[0-9]{1,18}")


async def get_conversation(request: web.Request) -> web.Response:
    """The latest exchanges, or those before `?before=`, oldest first; redacted values are restored. Raises Problem."""
    context = GatewayContext.of(request)
    conversation = conversation_of(request, caller_of(request, context.access))
    before, limit = _number(request, "before"), _number(request, "limit")
    if limit is not None and not 0 < limit <= MOST:
        raise Problem(400, f"limit: 1 to {MOST}")
    try:
        page = await context.store.open().history(conversation, before, limit or SHOWN)
    except StoreError as error:
        log.warning("gateway.store_away", error=str(error))
        raise no_store("the store of the conversations does not answer now") from error
    return json_response({"conversation_id": conversation, **_shown(page)})


async def delete_conversation(request: web.Request) -> web.Response:
    """Erases a conversation; 200 with the receipt. For servers and operators. Raises Problem."""
    context = GatewayContext.of(request)
    caller = caller_of(request, context.access)
    if not (caller.server or caller.admin):
        raise Problem(403, "conversations are erased by servers with an API key and by operators")
    conversation = checked_id(request.match_info["conversation_id"], "the conversation's id")
    context.store.open()
    # A client that leaves does not stop it half-way.
    erasing = asyncio.create_task(_erase(context, conversation, caller), name="gateway.erase")
    try:
        receipt = await asyncio.shield(erasing)
    except StoreError as error:
        log.warning("gateway.store_away", error=str(error))
        raise no_store("the store of the conversations does not answer now") from error
    return json_response(receipt.shown())


async def _erase(context: GatewayContext, conversation: str, caller: Caller) -> Receipt:
    receipt = await erase(context.store.open(), context.cluster, [conversation], issued_by=f"gateway: {caller.name}")
    context.forget(conversation)
    log.info("gateway.erased", by=caller.name, complete=receipt.complete)
    return receipt


def _shown(page: HistoryPage) -> dict[str, Any]:
    vault = Vault.from_json(page.conversation.state.vault)
    return {
        "exchanges": [_exchange(remembered, vault) for remembered in page.exchanges],
        "before": page.before,
        "handed_off": page.conversation.handed_off,
    }


def _exchange(remembered: Remembered, vault: Vault) -> dict[str, Any]:
    """A turn with its answer, or a person's message."""
    said, answer, _, person = remembered.exchange
    at = None if remembered.at is None else datetime.fromtimestamp(remembered.at, UTC)
    if person is not None:
        return {"message_id": remembered.turn_id, "at": at, "name": person, "text": restore(answer, vault)}
    told = {"text": restore(said, vault), "answer": restore(answer, vault)}
    return {"turn_id": remembered.turn_id, "at": at, **told}


def _number(request: web.Request, name: str) -> int | None:
    written = request.query.get(name)
    if written is None:
        return None
    if not _NUMBER.fullmatch(written):
        raise Problem(400, f"{name}: a number")
    return int(written)
