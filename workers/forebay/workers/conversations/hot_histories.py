"""A cache of recent conversations' histories in the worker's memory. Pure.

The store is always asked; the cache only avoids sending an unchanged history again. Each load tells the store which
version of the history is held here, and the store leaves the history out only when it still has that version. A history
that another worker changed, or that is no longer there, is therefore never served from here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from .exchange import Exchange

_OVERHEAD_BYTES = 500
"""Of an entry without its words; half of it again for each exchange."""


class Held(NamedTuple):
    """The latest exchanges of a conversation as they were at one version."""

    version: bytes
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
        self._most, self._most_bytes = most, most_bytes
        self._held: OrderedDict[str, Held] = OrderedDict()
        self.bytes = 0
        """Of all that is held, about."""

    def __len__(self) -> int:
        return len(self._held)

    def find(self, conversation_id: str, depth: int) -> Held | None:
        """What is held of its latest ``depth`` exchanges."""
        held = self._held.get(conversation_id)
        if held is None or held.depth < depth:
            return None
        self._held.move_to_end(conversation_id)
        return held

    def put(self, conversation_id: str, held: Held) -> None:
        """Holds it in the place of what was held."""
        self.forget(conversation_id)
        if held.bytes > self._most_bytes or not held.version:
            return
        self._held[conversation_id] = held
        self.bytes += held.bytes
        while len(self._held) > self._most or self.bytes > self._most_bytes:
            _, oldest = self._held.popitem(last=False)
            self.bytes -= oldest.bytes

    def append(self, conversation_id: str, before: bytes, after: bytes, exchange: Exchange, size: int) -> None:
        """The store says that this exchange of so many bytes led from one version to the next."""
        held = self._held.get(conversation_id)
        if held is None or held.version != before:
            return self.forget(conversation_id)
        exchanges, sizes = (*held.exchanges, exchange)[-held.depth :], (*held.sizes, size)[-held.depth :]
        return self.put(conversation_id, Held(after, held.depth, exchanges, sizes))

    def forget(self, conversation_id: str) -> None:
        """Holds nothing of it."""
        held = self._held.pop(conversation_id, None)
        if held is not None:
            self.bytes -= held.bytes
