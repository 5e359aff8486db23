"""The workers' store, as operators open it: it has to be there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from forebay.workers.conversations import Store, open_store
from forebay.workers.store_settings import StoreSettings


def open_existing(settings: StoreSettings) -> Store:
    """The store of the settings. Raises SettingsError, and FileNotFoundError: SQLite would make a file that is not there."""
    url = settings.store
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite" and path and not Path(path).exists():
        raise FileNotFoundError(
            f"FOREBAY_STORE={url}: there is no such file; run this where the workers run, or set FOREBAY_STORE"
        )
    return open_store(url, settings.store_key)


def check_ids(ids: Iterable[str]) -> None:
    """Raises ValueError for what a command line gave that is no text."""
    for name in ids:
        if any("\ud800" <= char <= "\udfff" for char in name):
            raise ValueError(f"{name!a} is not UTF-8, and so no id of a conversation")
