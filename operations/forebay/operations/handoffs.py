"""Conversations that a person has taken over, given back to the assistant."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.workers.store_settings import StoreSettings

from .existing_store import check_ids, open_existing


async def give_back(settings: StoreSettings, conversations: Iterable[str]) -> dict[str, bool]:
    """For each conversation whether a person had taken it over. ``settings`` are those of the workers' store.

    Raises ValueError for what is no id, StoreError, and OSError where the store is not there.
    """
    named = list(conversations)
    check_ids(named)
    store = open_existing(settings)
    try:
        return {name: await store.give_back(name) for name in named}
    finally:
        await store.close()
