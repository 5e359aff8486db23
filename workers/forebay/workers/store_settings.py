"""Where the store of conversations is, and the keys of what it holds: for every process that opens it."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from forebay.schemas.environment import Environment

from .conversations.store_keys import StoreKeys


class StoreSettings(Environment):
    """The same at all workers and gateways of a fleet."""

    store: str = "sqlite:///forebay.db"
    """Where conversations and stored replies are kept: ``sqlite:///file.db`` (four slashes for an absolute path) or
    ``redis://host:port/0``.
    """
    store_key: SecretStr | None = None
    """Keys that encrypt what the store holds of customers' words: ``id:key,id:key``, each key 32 bytes as base64. The first
    encrypts, all decrypt.
    """

    @field_validator("store_key")
    @classmethod
    def _usable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            StoreKeys(key.get_secret_value())
        return key
