"""Loading an assistant by the name that the settings give it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from forebay.schemas import SettingsError
from forebay.workers.conversations.window import Window

from .checking import check
from .definition import Assistant


def load_assistant(name: str | None) -> Assistant:
    """The assistant ``package.module:attribute``, or the built-in one for None.

    The current folder is searched last, so that nothing in it can stand in for a module of ours. Raises SettingsError.
    """
    if name is None:
        # Its calls are its turns', one for each: whoever tries it counts them.
        return Assistant(window=Window(summarise=False))
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise SettingsError(f"FOREBAY_ASSISTANT={name!r}: write it as package.module:attribute")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except SystemExit as error:
        fix = "a definition must not end the process; take that out, or put it under if __name__ == '__main__'"
        raise SettingsError(f"FOREBAY_ASSISTANT={name!r}: SystemExit: {_one_line(error)}: {fix}") from error
    except Exception as error:
        # The module is the user's: whatever it raises while it is imported is theirs to read, in one line.
        raise SettingsError(f"FOREBAY_ASSISTANT={name!r}: {type(error).__name__}: {_one_line(error)}") from error
    try:
        found = getattr(module, attribute)
    except AttributeError:
        raise SettingsError(f"FOREBAY_ASSISTANT={name!r}: {module_name} has no {attribute!r}") from None
    if not isinstance(found, Assistant):
        raise SettingsError(f"FOREBAY_ASSISTANT={name!r}: is a {type(found).__name__}, not an Assistant")
    check(found)
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
