"""Claims: tells the store which turns this process works on, and renews that until they end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import structlog

from .state import CLAIM_S, Claim
from .store import Store, StoreError

log = structlog.get_logger()

_RENEW_S = CLAIM_S / 3


class Claims:
    """The claims of one worker. `Store.load` takes them; here they are kept, and ended where no reply ends them."""

    def __init__(self, store: Store, worker: str) -> None:
        """``worker`` must be unique for each process, also after a restart."""
        self._store, self._worker = store, worker
        self._held: set[Claim] = set()
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, conversation_id: str, turn_id: str) -> Claim:
        """A new claim for an attempt at a turn; each attempt has its own, so a cancelled one cannot act for the next."""
        claim = Claim(conversation_id, turn_id, f"{self._worker}/{next(self._numbers)}")
        self._held.add(claim)
        self._renew_later()
        return claim

    def end(self, claim: Claim, *, recorded: bool) -> None:
        """The turn ended. Without a recorded reply the next worker may begin at once."""
        self._held.discard(claim)
        if not recorded:
            self._start(self._store.release(claim))

    async def close(self) -> None:
        """Waits for what was begun."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _renew_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RENEW_S, self._renew)

    def _renew(self) -> None:
        self._timer = None
        if self._held:
            self._start(self._store.renew(tuple(self._held)))
            self._renew_later()

    def _start(self, telling: Coroutine[Any, Any, None]) -> None:
        async def told() -> None:
            try:
                await telling
            except StoreError as error:  # the claim ends by itself, and a stored reply counts in any case
                log.warning("claim.untold", error=str(error))

        task = asyncio.create_task(told())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
