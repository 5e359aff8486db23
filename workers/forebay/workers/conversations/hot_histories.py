"""A cache of recent conversations' histories in the worker's memory. Pure.

The store is always asked; the cache only avoids sending an unchanged history again. Each load tells the store which
version of the history is held here, and the store leaves the history out only when it still has that version. A history
that another worker changed, or that is no longer there, is therefore never served from here.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from cachetools import LRUCache

from .exchange import Exchange

_OVERHEAD_BYTES = 500
"""Of an entry without its words; half of it again for each exchange."""


Version: TypeAlias = bytes


class HeldHistory(NamedTuple):
    """The latest exchanges of a conversation as they were at one version."""

    version: Version
    depth: int
    """How many were asked for; there are fewer in a conversation that has no more."""
    exchanges: tuple[Exchange, ...]
    """Oldest first."""
    sizes: tuple[int, ...]
    """Bytes of each in the store."""

    @property
    def bytes(self) -> int:
        """About what it takes, in bytes."""
        return _OVERHEAD_BYTES + sum(self.sizes) + len(self.sizes) * _OVERHEAD_BYTES // 2


class HotConversations:
    """The latest used ones, bounded by their number and by their bytes."""

    def __init__(self, most: int = 10_000, most_bytes: int = 64 << 20) -> None:
        self._most = most
        self._held: LRUCache[str, HeldHistory] = LRUCache(most_bytes, lambda held: held.bytes)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def bytes(self) -> int:
        """Of all that is held, about."""
        return int(self._held.currsize)

    def find(self, conversation_id: str, depth: int) -> HeldHistory | None:
        """What is held of its latest ``depth`` exchanges."""
        held = self._held.get(conversation_id)
        return None if held is None or held.depth < depth else held

    def put(self, conversation_id: str, held: HeldHistory) -> None:
        """Holds it in the place of what was held."""
        self.forget(conversation_id)
        if held.bytes > self._held.maxsize or not held.version:
            return
        self._held[conversation_id] = held
        if len(self._held) > self._most:
            self._held.popitem()

    def append(self, conversation_id: str, before: Version, after: Version, exchange: Exchange, size: int) -> None:
        """The store says that this exchange of so many bytes led from one version to the next."""
        held = self._held.get(conversation_id)
        if held is None or held.version != before:
            return self.forget(conversation_id)
        exchanges, sizes = (*held.exchanges, exchange)[-held.depth :], (*held.sizes, size)[-held.depth :]
        return self.put(conversation_id, HeldHistory(after, held.depth, exchanges, sizes))

    def forget(self, conversation_id: str) -> None:
        """Holds nothing of it."""
        self._held.pop(conversation_id, None)
