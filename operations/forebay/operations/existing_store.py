"""The workers' store, as operators open it: it has to be there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from forebay.workers.conversations import Store, open_store


def open_existing(url: str) -> Store:
    """The store at ``url``. Raises SettingsError, and FileNotFoundError: SQLite would make a file that is not there."""
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path and not Path(path).exists():
        raise FileNotFoundError(
            f"FOREBAY_STORE={url}: there is no such file; run this where the workers run, or set FOREBAY_STORE"
        )
    return open_store(url)


def check_ids(ids: Iterable[str]) -> None:
    """Raises ValueError for what a command line gave that is no text."""
    for name in ids:
        if any("\ud800" <= char <= "\udfff" for char in name):
            raise ValueError(f"{name!a} is not UTF-8, and so no id of a conversation")
