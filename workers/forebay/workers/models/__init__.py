"""Models: one file for each provider, a catalogue of names and prices, and what all models have in common."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    "forebay.workers.messages": "Message ToolCall ToolResult",
    ".catalogue": "Catalogue CatalogueModel",
    ".clients": "Clients",
    ".keys": "keys_of",
    ".model": "RETRYABLE Completion Model ModelError OnText Trouble",
    ".options": "ModelOptions",
    ".prompt": "Prompt ToolSpec",
    ".timeouts": "Timeouts",
}

if TYPE_CHECKING:
    from forebay.workers.messages import Message, ToolCall, ToolResult

    from .catalogue import Catalogue, CatalogueModel
    from .clients import Clients
    from .keys import keys_of
    from .model import RETRYABLE, Completion, Model, ModelError, OnText, Trouble
    from .options import ModelOptions
    from .prompt import Prompt, ToolSpec
    from .timeouts import Timeouts
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = [
    "RETRYABLE",
    "Catalogue",
    "CatalogueModel",
    "Clients",
    "Completion",
    "Message",
    "Model",
    "ModelError",
    "ModelOptions",
    "OnText",
    "Prompt",
    "Timeouts",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "Trouble",
    "keys_of",
]
