"""``forebay gateway``: serves clients over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import run


def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    without_keys: Annotated[bool, typer.Option("--open", help="Ask for no keys. On loopback only.")] = False,
    health_port: Annotated[
        int | None, typer.Option(help="Port of /livez, /readyz, /metrics; 0 takes a free one.")
    ] = None,
) -> None:
    """The front door over HTTP: API, events, WebSockets, chat page and console, until SIGTERM."""
    from forebay.gateway import GatewaySettings
    from forebay.gateway.process import serve
    from forebay.schemas import Cluster

    options = {"gateway_host": "--host", "gateway_port": "--port", "gateway_open": "--open"}
    settings = GatewaySettings.read(
        options, gateway_host=host, gateway_port=port, gateway_open=without_keys or None, health_port=health_port
    )
    run(serve(Cluster.read(), settings))
