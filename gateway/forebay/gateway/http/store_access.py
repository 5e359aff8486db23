"""Access to the workers' store, opened when it is first asked for: a gateway serves turns without it."""

from __future__ import annotations

import structlog

from forebay.operations.existing_store import open_existing
from forebay.schemas import SettingsError
from forebay.workers.conversations import Store
from forebay.workers.store_settings import StoreSettings

from .problem import Problem

log = structlog.get_logger()


class StoreAccess:
    """The store of `FOREBAY_STORE`, if this gateway can reach it."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._store: Store | None = None

    def open(self) -> Store:
        """The store. Raises Problem."""
        if self._store is None:
            try:
                self._store = open_existing(self._settings)
            except (SettingsError, OSError, ModuleNotFoundError) as error:
                log.warning("gateway.no_store", error=str(error))
                raise no_store("this gateway has no access to the conversations: set its FOREBAY_STORE") from error
        return self._store

    def forget(self, conversation: str) -> None:
        """Lets go of what the store holds of it in memory."""
        if self._store is not None:
            self._store.drop(conversation)

    async def close(self) -> None:
        """Closes it, if it was opened."""
        if self._store is not None:
            await self._store.close()


def no_store(detail: str) -> Problem:
    """The problem of a request that needs the store."""
    return Problem(503, detail, code="no_store", retry_after_s=5.0)
