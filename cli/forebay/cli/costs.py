"""``forebay costs``: what answers have cost, from the replies on the topic."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import Json, moment_of, print_json, run


def costs(
    since: Annotated[str | None, typer.Option(help="A time, or how long ago: 2h, 7d. Default: all there is.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's turns.")] = None,
    against: Annotated[
        str | None, typer.Option(help="The large model to compare with; default: the dearest known.")
    ] = None,
    turns_a_day: Annotated[float | None, typer.Option(min=0, help="For the forecast; default: as it was.")] = None,
    json: Json = False,
) -> None:
    """Spending by model, route, tenant and day, what was saved, and a forecast; from the replies on the topic."""
    from forebay.operations.costs import read_costs
    from forebay.schemas import Cluster
    from forebay.workers.settings import WorkerSettings

    from .costs_screen import as_json, show

    from_ = moment_of("--since", since)
    since_ms = None if from_ is None else int(from_.timestamp() * 1000)
    accounts = run(read_costs(Cluster.read(), WorkerSettings.read().catalogue, against, since_ms, tenant))
    print_json(as_json(accounts, turns_a_day)) if json else show(accounts, turns_a_day)
