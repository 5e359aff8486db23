"""The definition of an assistant: a frozen value that a user's module holds, or the built-in one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas import SettingsError, Turn

DEFAULT_MODEL = "claude-haiku-4-5"

_INSTRUCTIONS = """\
You are the customer assistant of an online shop. Answer in the language the customer writes in, briefly and plainly.
If you do not know something about an order, a product or a delivery, say so and say where to find it; never invent it.\
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """Who answers. ``SPILLWAY_ASSISTANT=shop.assistant:assistant`` names one."""

    instructions: str = _INSTRUCTIONS
    """The system prompt."""
    model: str | None = None
    """Name in the catalogue, or ``provider:name``; None takes SPILLWAY_MODEL."""
    fallbacks: tuple[str, ...] = ()
    """Models to ask when the first cannot answer, in order; empty takes SPILLWAY_FALLBACKS."""
    max_tokens: int = 1024
    """Most tokens to write in a reply."""
    history: int = 20
    """Latest exchanges of the conversation that the model is shown."""
    last_resort: Callable[[Turn], str | None] | None = None
    """Answers by rule when no model will; returns None for what it has no answer to."""
    hand_off: bool = False
    """Whether a person takes over what would fail. At a spending ceiling a person takes over in any case."""


def load_assistant(name: str | None) -> Assistant:
    """The assistant ``package.module:attribute``, or the built-in one for None.

    The current folder is searched last, so that nothing in it can stand in for a module of ours. Raises SettingsError.
    """
    if name is None:
        return Assistant()
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise SettingsError(f"SPILLWAY_ASSISTANT={name!r}: write it as package.module:attribute")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except AttributeError:
        raise SettingsError(f"SPILLWAY_ASSISTANT={name!r}: {module_name} has no {attribute!r}") from None
    except Exception as error:
        # The module is the user's: whatever it raises while it is imported is theirs to read, in one line.
        raise SettingsError(f"SPILLWAY_ASSISTANT={name!r}: {type(error).__name__}: {error}") from error
    if not isinstance(found, Assistant):
        raise SettingsError(f"SPILLWAY_ASSISTANT={name!r}: is a {type(found).__name__}, not an Assistant")
    return found
