"""Deletes sessions that a provider keeps, with their memory of a conversation."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.schemas import SettingsError
from forebay.workers.models.keys import keys_of

from .memory import Memory

_TIMEOUT_S = 10.0


async def delete_sessions(states: Iterable[str]) -> dict[str, str]:
    """Deletes sessions, as conversations' states have them. Returns why each that is left is still there; "" when it is gone.

    A session belongs to one of the configured keys; each of them is tried.
    """
    ids = sorted({memory.session_id for memory in map(Memory.read, states) if memory})
    if not ids:
        return {}
    try:
        keys = keys_of("anthropic", "deleting its sessions")
        import anthropic
    except SettingsError as error:
        return dict.fromkeys(ids, str(error))
    except ImportError:
        return dict.fromkeys(ids, "the Anthropic SDK is not installed: pip install 'forebay[worker]'")
    left = dict.fromkeys(ids, "")
    for key in keys:
        async with anthropic.AsyncAnthropic(api_key=key, timeout=_TIMEOUT_S, max_retries=2) as client:
            for session_id in ids:
                try:
                    await client.beta.sessions.delete(session_id)
                except anthropic.NotFoundError:
                    continue  # deleted before, or another key's
                except anthropic.APIError as error:
                    left[session_id] = f"{type(error).__name__} from Anthropic: delete it there"
    return left
