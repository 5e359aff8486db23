"""What every handler of the gateway works with, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web

from forebay.gateway.settings import GatewaySettings
from forebay.gateway.stream.hub import Hub
from forebay.operations.fleet import Fleet
from forebay.schemas import Cluster

from .access import Access, Caller
from .connections import Connections
from .problem import Problem
from .publisher import Publisher
from .store_access import StoreAccess
from .submission import Submission


@dataclass(frozen=True, slots=True, eq=False)
class GatewayContext:
    """The parts of one gateway."""

    cluster: Cluster
    settings: GatewaySettings
    access: Access
    hub: Hub
    fleet: Fleet
    submission: Submission
    publisher: Publisher
    connections: Connections
    store: StoreAccess

    @staticmethod
    def of(request: web.Request) -> GatewayContext:
        """The context of the gateway that serves this request."""
        return request.app[KEY]

    def forget(self, conversation: str) -> None:
        """Drops what this process holds of a conversation."""
        self.hub.forget(conversation)
        self.submission.forget(conversation)
        self.store.forget(conversation)

    @contextmanager
    def connected(self, caller: Caller) -> Iterator[None]:
        """Counts as one of the caller's connections while it is entered. Raises Problem."""
        user = caller.user_id if not caller.server else None
        limit = self.connections.enter(user)
        if limit is not None:
            raise Problem(429, f"{limit.whose} has too many connections open", retry_after_s=limit.retry_after_s)
        try:
            yield
        finally:
            self.connections.leave(user)


KEY = web.AppKey("context", GatewayContext)
