"""The store that an address names."""

from __future__ import annotations

from pydantic import SecretStr

from forebay.schemas import SettingsError

from .sqlite import SQLiteStore
from .store import Store
from .store_keys import StoreKeys


def open_store(url: str, key: SecretStr | None = None) -> Store:
    """The store at ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or an address of `RedisAddress`.

    ``key`` has the keys that seal and open what it holds of customers' words. Raises SettingsError.
    """
    keys = StoreKeys(key.get_secret_value() if key else "")
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return SQLiteStore(rest[1:], keys)
    if scheme in ("redis", "rediss", "unix"):
        from .redis_store import RedisStore  # an extra, which SQLite does without

        return RedisStore(url, keys=keys)
    # What is no address of ours may still hold somebody's password.
    shown = f"{scheme}://..." if rest else repr(url)
    raise SettingsError(
        f"FOREBAY_STORE={shown}: not a store this version knows; write sqlite:///file.db or redis://host:port/0"
    )
