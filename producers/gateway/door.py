"""The door: what every handler of the gateway needs, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from producers.fleet import Fleet
from schemas import Cluster

from .acceptance import Acceptance
from .access import Access
from .admission import Connections
from .hub import Hub
from .settings import GatewaySettings


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """One gateway's parts."""

    cluster: Cluster
    settings: GatewaySettings
    access: Access
    hub: Hub
    fleet: Fleet
    acceptance: Acceptance
    connections: Connections

    @staticmethod
    def of(request: web.Request) -> Door:
        """The one that serves this request."""
        return request.app[KEY]


KEY = web.AppKey("door", Door)
