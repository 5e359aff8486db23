"""How Claude Managed Agents shows its things as JSON: every field that the real SDK's types require."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from forebay.rehearsal.model_api.answers.call_prompt import CallPrompt
from forebay.rehearsal.model_api.wire.anthropic_request import invalid


def stamp(seconds: float) -> str:
    """A time in RFC 3339, from seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def model_config(model: object) -> dict[str, Any]:
    """A model as it is shown, from its name or configuration. Raises Refused."""
    given = {"id": model} if isinstance(model, str) else model
    if not isinstance(given, dict) or not isinstance(given.get("id"), str):
        raise invalid("model: Field required")
    return {"effort": {"type": "high"}, "speed": "standard"} | given


def agent(agent_id: str, body: Mapping[str, Any], now: str) -> dict[str, Any]:
    """An agent as it was asked for. Raises Refused."""
    if not isinstance(body.get("name"), str):
        raise invalid("name: Field required")
    return {
        "id": agent_id,
        "type": "agent",
        "name": body["name"],
        "description": body.get("description"),
        "model": model_config(body.get("model")),
        "system": body.get("system"),
        "tools": list(body.get("tools") or ()),
        "skills": [],
        "mcp_servers": [],
        "metadata": body.get("metadata") or {},
        "multiagent": None,
        "execution_identity": {"type": "service_account"},
        "version": 1,
        "archived_at": None,
        "created_at": now,
        "updated_at": now,
    }


def environment(environment_id: str, body: Mapping[str, Any], now: str) -> dict[str, Any]:
    """An environment in the cloud. Raises Refused."""
    if not isinstance(body.get("name"), str):
        raise invalid("name: Field required")
    networking = (body.get("config") or {}).get("networking") or {"type": "unrestricted"}
    if networking["type"] == "limited":
        networking = {"allow_mcp_servers": False, "allow_package_managers": False, "allowed_hosts": []} | networking
    packages: dict[str, Any] = {name: [] for name in ("apt", "cargo", "gem", "go", "npm", "pip")}
    return {
        "id": environment_id,
        "type": "environment",
        "name": body["name"],
        "description": body.get("description"),
        "config": {"type": "cloud", "networking": networking, "packages": {"type": "packages"} | packages},
        "metadata": body.get("metadata") or {},
        "scope": "organization",
        "archived_at": None,
        "created_at": now,
        "updated_at": now,
    }


def session(shown: Any, now: str) -> dict[str, Any]:
    """A `Session` as it is now."""
    of_agents = ("metadata", "archived_at", "created_at", "updated_at")
    return {
        "id": shown.id,
        "type": "session",
        "agent": {name: value for name, value in shown.agent.items() if name not in of_agents},
        "environment_id": shown.environment_id,
        "status": shown.status,
        "usage": shown.usage,
        "stats": {"active_seconds": 0.0, "duration_seconds": 0.0},
        "title": None,
        "metadata": {},
        "resources": [],
        "vault_ids": [],
        "outcome_evaluations": [],
        "archived_at": None,
        "budget": None,
        "deployment_id": None,
        "created_at": shown.created_at,
        "updated_at": now,
    }


def error_event(kind: str, retry: str) -> dict[str, Any]:
    """A `session.error`; ``retry`` is what becomes of the run: retrying, exhausted, terminal."""
    message = kind.removesuffix("_error").replace("_", " ")
    return {"type": "session.error", "error": {"type": kind, "message": message, "retry_status": {"type": retry}}}


def model_usage(prompt: CallPrompt, output_tokens: int) -> dict[str, int]:
    """Of one request to the model."""
    return {
        "input_tokens": prompt.tokens - prompt.cache_read - prompt.cache_write,
        "cache_creation_input_tokens": prompt.cache_write,
        "cache_read_input_tokens": prompt.cache_read,
        "output_tokens": output_tokens,
    }


def read_texts(number: int, content: object) -> list[str]:
    """The texts of a message's content blocks. Raises Refused where there is none, or one that is empty."""
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    words = [text for text in texts if isinstance(text, str) and text]
    if not words or words != texts:
        raise invalid(f"events.{number}.content: text content blocks must be non-empty")
    return words
