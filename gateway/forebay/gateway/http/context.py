"""The door: what every handler of the gateway needs, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from forebay.gateway.settings import GatewaySettings
from forebay.gateway.stream.hub import Hub
from forebay.operations.fleet import Fleet
from forebay.schemas import Cluster

from .access import Access
from .admission import Connections
from .submission import Acceptance


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
