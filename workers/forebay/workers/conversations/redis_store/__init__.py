"""Conversations in Redis, shared by the workers of many machines."""

from typing import TYPE_CHECKING

from forebay.schemas.lazy import lazily

_MODULES = {
    ".store": "HISTORY KEEP_S RedisStore",
}

if TYPE_CHECKING:
    from .store import HISTORY, KEEP_S, RedisStore
else:
    __getattr__ = lazily(__name__, _MODULES)

__all__ = ["HISTORY", "KEEP_S", "RedisStore"]
