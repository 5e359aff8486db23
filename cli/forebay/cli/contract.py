"""``forebay contract``: the contract for frontends, as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import print_json


def contract(
    schemas: Annotated[bool, typer.Option("--schemas", help="JSON Schemas of the messages, not AsyncAPI.")] = False,
    prefix: Annotated[str | None, typer.Option(help="First part of the topics' names.")] = None,
) -> None:
    """The contract for frontends as JSON: an AsyncAPI 3 document, or the JSON Schemas of the messages."""
    from forebay.schemas import Cluster
    from forebay.schemas.contract import asyncapi, json_schemas
    from forebay.schemas.version import VERSION

    print_json(
        json_schemas()
        if schemas
        else asyncapi(Cluster.read({"topic_prefix": "--prefix"}, topic_prefix=prefix).topic_prefix, VERSION)
    )
