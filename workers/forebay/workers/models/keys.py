"""API keys from the environment: one for each provider as its SDK reads it, or several of ours."""

from __future__ import annotations

import os

from forebay.schemas import SettingsError

from .catalogue import Provider


def keys_of(provider: Provider, model: str) -> tuple[str, ...]:
    """The keys of FOREBAY_ANTHROPIC_API_KEYS (comma-separated) or ANTHROPIC_API_KEY, and the same for openai.

    Raises SettingsError when there is none or one cannot be sent; ``model`` is named as what needs it.
    """
    name = f"{provider.upper()}_API_KEY"
    several = f"FOREBAY_{name}S"
    if os.environ.get(several):
        found, name = [key.strip() for key in os.environ[several].split(",") if key.strip()], several
    else:
        found = [os.environ[name]] if os.environ.get(name) else []
    if not found:
        raise SettingsError(
            f"{name} is not set, and {model} needs it. Without a key, try the simulated one: forebay model-api"
        )
    if any(not key.isprintable() or " " in key.strip(" ") for key in found):
        raise SettingsError(f"{name} has white space or control characters in it: set it anew, without a line's end")
    address = f"{provider.upper()}_BASE_URL"
    if (url := os.environ.get(address)) and not url.startswith(("http://", "https://")):
        raise SettingsError(f"{address}={url!r}: is no address; write it as https://host/path")
    return tuple(dict.fromkeys(found))
