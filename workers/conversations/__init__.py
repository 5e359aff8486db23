"""Conversations: what was said, and which turns were answered with what."""

from __future__ import annotations

from schemas import SettingsError

from .exchange import Exchange
from .sqlite import SQLiteStore
from .state import CLAIM_S, Claim, Conversation, Pending, State
from .store import Entry, Loaded, Store, StoredReply, StoreError

__all__ = [
    "CLAIM_S",
    "Claim",
    "Conversation",
    "Entry",
    "Exchange",
    "Loaded",
    "Pending",
    "State",
    "Store",
    "StoreError",
    "StoredReply",
    "open_store",
]


def open_store(url: str) -> Store:
    """The store at ``sqlite:///relative.db`` or ``sqlite:////absolute.db``. Raises SettingsError."""
    scheme, separator, path = url.partition(":///")
    if separator and scheme == "sqlite" and path:
        return SQLiteStore(path)
    raise SettingsError(
        f"SPILLWAY_STORE={url!r}: not a store this version knows; write sqlite:///file.db (redis comes with a later version)"
    )
