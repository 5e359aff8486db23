"""Conversations in Redis, shared by the workers of many machines."""

from .store import HISTORY, KEEP_S, RedisStore

__all__ = ["HISTORY", "KEEP_S", "RedisStore"]
