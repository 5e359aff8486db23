"""The models that `GET /v1/models` lists. Calls may name any model."""

from __future__ import annotations

ANTHROPIC_MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-4-5")
OPENAI_MODELS = ("gpt-6.1-terra", "gpt-6-luna")
RELEASED = "2026-01-01T00:00:00Z"
"""Release date told for every model, RFC 3339."""
