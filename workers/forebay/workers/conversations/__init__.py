"""Conversations and their stores: history, state, stored replies, claims."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".exchange": "Exchange",
    ".state": "CLAIM_S Claim Conversation Pending State",
    ".store": "ConversationErased Entry Erased HistoryPage Loaded Participant Remembered Store StoredReply StoreError",
    ".stores": "open_store",
}

if TYPE_CHECKING:
    from .exchange import Exchange
    from .state import CLAIM_S, Claim, Conversation, Pending, State
    from .store import (
        ConversationErased,
        Entry,
        Erased,
        HistoryPage,
        Loaded,
        Participant,
        Remembered,
        Store,
        StoredReply,
        StoreError,
    )
    from .stores import open_store
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = [
    "CLAIM_S",
    "Claim",
    "Conversation",
    "ConversationErased",
    "Entry",
    "Erased",
    "Exchange",
    "HistoryPage",
    "Loaded",
    "Participant",
    "Pending",
    "Remembered",
    "State",
    "Store",
    "StoreError",
    "StoredReply",
    "open_store",
]
