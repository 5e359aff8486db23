"""Conversations that a person has taken over, given back to the assistant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from forebay.workers.conversations import open_store


async def give_back(url: str, conversations: Iterable[str]) -> dict[str, bool]:
    """For each conversation whether a person had taken it over. ``url`` is that of the workers' store.

    Raises ValueError for what is no id, StoreError, and OSError where the store is not there.
    """
    named = list(conversations)
    for name in named:
        if any("\ud800" <= char <= "\udfff" for char in name):
            raise ValueError(f"{name!a} is not UTF-8, and so no id of a conversation")
    _check_exists(url)
    store = open_store(url)
    try:
        return {name: await store.give_back(name) for name in named}
    finally:
        await store.close()


def _check_exists(url: str) -> None:
    """SQLite would make a file that is not there, and say of it that no person had taken over."""
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path and not Path(path).exists():
        raise FileNotFoundError(
            f"FOREBAY_STORE={url}: there is no such file; run this where the workers run, or set FOREBAY_STORE"
        )
