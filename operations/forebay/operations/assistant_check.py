"""Reads an assistant's definition and says what it means."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson

from forebay.workers.answering.upstreams import wanted_models
from forebay.workers.assistants import Assistant, load_assistant
from forebay.workers.assistants.definition import DEFAULT_MODEL
from forebay.workers.assistants.faq_file import FaqFile
from forebay.workers.assistants.mcp.sessions import McpSessions
from forebay.workers.assistants.routing import Route, Routing
from forebay.workers.models import Catalogue
from forebay.workers.settings import WorkerSettings


async def understood(settings: WorkerSettings) -> dict[str, Any]:
    """The assistant that the settings name, as data; asks its MCP servers for their tools. Raises SettingsError."""
    assistant = load_assistant(settings.assistant)
    catalogue = Catalogue.load(settings.catalogue)
    models = [_model(name, catalogue) for name in wanted_models(assistant, settings)]
    async with McpSessions.of(assistant) as found:
        routing = Routing(assistant, found)
    faq = len(FaqFile(Path(assistant.faq), time.monotonic()).current(time.monotonic())) if assistant.faq else 0
    first = assistant.model or settings.model or DEFAULT_MODEL
    return {
        "assistant": settings.assistant or "the built-in one",
        "models": models,
        "by_complexity": {grade: assistant.models.get(grade, first) for grade in ("simple", "complex", "reasoning")},
        "fallbacks": list(assistant.fallbacks or settings.fallback_names()),
        "routes": [_route(route, assistant) for route in routing.routes],
        "faq_entries": faq,
        "window": {
            "exchanges": assistant.window.exchanges,
            "tokens": assistant.window.tokens,
            "summarised": assistant.window.summarise,
        },
        "redaction": assistant.redaction is not None,
        "hand_off": assistant.hand_off is not None,
    }


def _model(wanted: str, catalogue: Catalogue) -> dict[str, Any]:
    name, known = catalogue.find(wanted)
    price = None if known.price is None else known.price.model_dump()
    return {
        "name": wanted,
        "model": name,
        "provider": known.provider,
        "context": known.context,
        "usd_per_million": price,
    }


def _route(route: Route, assistant: Assistant) -> dict[str, Any]:
    intents = next((one.intents for one in assistant.specialists if one.name == route.name), ())
    tools = [route.toolbox.find(spec.name) for spec in route.toolbox.specs]
    return {
        "specialist": route.name,
        "model": route.model,
        "intents": list(intents),
        "tools": [
            {
                "name": tool.name,
                "arguments": list(orjson.loads(tool.spec.schema).get("properties", {})),
                "confirm": tool.confirm,
                "needs_customer": tool.needs_customer,
                "idempotency_key": tool.takes_key,
            }
            for tool in tools
            if tool is not None
        ],
    }
