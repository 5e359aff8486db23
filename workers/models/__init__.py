"""Models: one file for each provider, a catalogue of names and prices, and what all models have in common."""

from __future__ import annotations

import os

from schemas import SettingsError

from .catalogue import Catalogue, CatalogueModel
from .model import Completion, Message, Model, ModelError, OnText, Prompt
from .timeouts import Timeouts

__all__ = [
    "Catalogue",
    "CatalogueModel",
    "Completion",
    "Message",
    "Model",
    "ModelError",
    "OnText",
    "Prompt",
    "Timeouts",
    "connect",
]

_KEYS = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


def connect(name: str, model: CatalogueModel, concurrency: int, timeouts: Timeouts = Timeouts()) -> Model:
    """A client for one model, ``concurrency`` calls at once. Raises SettingsError when its key is missing."""
    key = _KEYS[model.provider]
    if not os.environ.get(key):
        raise SettingsError(
            f"{key} is not set, and {name} needs it. Without a key, try the simulated one: spillway model-api"
        )
    if not os.environ[key].isprintable() or " " in os.environ[key].strip(" "):
        raise SettingsError(f"{key} has white space or control characters in it: set it anew, without a line's end")
    address = f"{model.provider.upper()}_BASE_URL"
    if (url := os.environ.get(address)) and not url.startswith(("http://", "https://")):
        raise SettingsError(f"{address}={url!r}: is no address; write it as https://host/path")
    # Each SDK takes 30 MB and half a second to import: only the one that is used.
    if model.provider == "anthropic":
        from . import anthropic

        return anthropic.AnthropicModel(name, anthropic.client(concurrency, timeouts))
    from . import openai

    return openai.OpenAIModel(name, openai.client(concurrency, timeouts))
