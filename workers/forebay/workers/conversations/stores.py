"""The store that an address names."""

from __future__ import annotations

from forebay.schemas import SettingsError

from .sqlite import SQLiteStore
from .store import Store


def open_store(url: str) -> Store:
    """The store at ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or an address of `RedisAddress`.

    Raises SettingsError.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return SQLiteStore(rest[1:])
    if scheme in ("redis", "rediss", "unix"):
        from .redis_store import RedisStore  # an extra, which SQLite does without

        return RedisStore(url)
    # What is no address of ours may still hold somebody's password.
    shown = f"{scheme}://..." if rest else repr(url)
    raise SettingsError(
        f"FOREBAY_STORE={shown}: not a store this version knows; write sqlite:///file.db or redis://host:port/0"
    )
