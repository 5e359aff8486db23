"""``forebay deliver``: pushes replies to the servers of shops, as webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .command import run


def deliver(
    webhooks: Annotated[
        Path | None, typer.Option(help="The file that names the servers; FOREBAY_WEBHOOKS without it.")
    ] = None,
    health_port: Annotated[
        int | None, typer.Option(help="Port of /livez, /readyz, /metrics; 0 takes a free one.")
    ] = None,
) -> None:
    """Pushes replies to webhooks until SIGTERM; several share the work."""
    from forebay.schemas import Cluster
    from forebay.workers.deliver_process import deliver as deliver_webhooks
    from forebay.workers.deliver_settings import DeliverSettings

    settings = DeliverSettings.read(webhooks=webhooks, health_port=health_port)
    run(deliver_webhooks(Cluster.read(), settings))
