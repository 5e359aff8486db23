"""``forebay worker``: one consumer worker."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import run


def worker(
    assistant: Annotated[
        str | None, typer.Argument(help="package.module:attribute; the built-in one without it.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Model calls in flight.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of an assistant that names none.")] = None,
    health_port: Annotated[
        int | None, typer.Option(help="Port of /livez, /readyz, /metrics; 0 takes a free one.")
    ] = None,
) -> None:
    """One consumer worker, until SIGTERM; then it drains."""
    from forebay.schemas import Cluster
    from forebay.workers.process import serve
    from forebay.workers.settings import WorkerSettings

    settings = WorkerSettings.read(assistant=assistant, concurrency=concurrency, model=model, health_port=health_port)
    run(serve(Cluster.read(), settings))
