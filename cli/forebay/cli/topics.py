"""``forebay topics``: the Kafka topics."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import Json, print_json, run

topics = typer.Typer(help="The Kafka topics.", no_args_is_help=True, rich_markup_mode=None)


@topics.callback()
def _only_group() -> None:
    """The Kafka topics."""


@topics.command("apply")
def apply(
    partitions: Annotated[int | None, typer.Option(help="Of each topic; fixed for ever.")] = None,
    replication: Annotated[int | None, typer.Option(help="Replicas; the broker's default without it.")] = None,
    prefix: Annotated[str | None, typer.Option(help="First part of the topics' names.")] = None,
    json: Json = False,
) -> None:
    """Creates the topics that are missing and shows what differs in the others. Never shrinks or repartitions."""
    from forebay.producers import TopicSettings, apply_topics
    from forebay.schemas import Cluster

    options = {"topic_partitions": "--partitions", "topic_replication": "--replication", "topic_prefix": "--prefix"}
    settings = TopicSettings.read(options, topic_partitions=partitions, topic_replication=replication)
    states = run(apply_topics(Cluster.read(options, topic_prefix=prefix), settings))
    if json:
        print_json([state._asdict() for state in states])
        return
    for state in states:
        verb = "created" if state.created else "differs" if state.differences else "exists"
        typer.echo(f"{verb:8} {state.name} ({state.partitions} partitions)")
        for difference in state.differences:
            typer.echo(f"         {difference}")
