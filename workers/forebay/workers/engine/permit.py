"""A turn's permit to call a model: given back early, and asked for again after a wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

from .lanes import Lanes


class Permit:
    """Held from the start of a turn. The turn's lane stays busy whether or not its permit is held."""

    __slots__ = ("_dispatch", "_lane", "_lanes", "_regained")

    def __init__(self, lanes: Lanes[Any], lane: Hashable, dispatch: Callable[[], None]) -> None:
        self._lanes = lanes
        self._lane = lane
        self._dispatch = dispatch
        self._regained: asyncio.Future[None] | None = None

    def give_back(self) -> None:
        """No model is called now: another conversation may. Calling it twice is harmless."""
        self._lanes.give_back(self._lane)
        self._dispatch()

    async def regain(self) -> None:
        """Waits, by age, for a permit again; not at all where it is held."""
        if self._lanes.holds(self._lane):
            return
        loop = asyncio.get_running_loop()
        self._regained = loop.create_future()
        self._lanes.reclaim(self._lane, loop.time())
        self._dispatch()
        await self._regained

    def granted(self) -> None:
        """Told by the engine when this turn has its permit again."""
        if self._regained is not None and not self._regained.done():
            self._regained.set_result(None)
