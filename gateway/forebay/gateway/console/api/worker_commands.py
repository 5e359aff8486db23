"""An operator's word to the workers."""

from __future__ import annotations

import time

from aiohttp import web

from forebay.gateway.console.admin import admin_of, explained
from forebay.gateway.console.audit import target
from forebay.gateway.console.console import Console
from forebay.gateway.console.params import Say
from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import Door
from forebay.gateway.http.messages import parse
from forebay.gateway.http.parsing import body_of
from forebay.gateway.http.problem import Problem
from forebay.gateway.stream.record import Stream
from forebay.schemas import EVERYBODY, ClusterError

MOST_NAME = 256


async def say(request: web.Request) -> web.Response:
    """Returns when Kafka has the command; the workers obey within moments, as the live stream shows."""
    caller, door, audit = admin_of(request), Door.of(request), Console.of(request).audit
    asked = parse(Say, await body_of(request, door.settings.gateway_body_s))
    on = target(asked.worker, asked.partition)
    try:
        _meant(door, asked)
        said = await door.fleet.command(
            asked.command, worker=asked.worker, partition=asked.partition, issued_by=issuer(caller)
        )
    except (Problem, ClusterError) as error:
        audit.note(caller.name, asked.command, on, f"failed: {error}")
        raise (explained(error) if isinstance(error, ClusterError) else error) from None
    audit.note(caller.name, asked.command, on, "said", shown=False, command=said.command_id)
    return web.json_response(said.model_dump(mode="json") | {"worker": asked.worker}, status=202)


def issuer(caller: Caller) -> str:
    """As a command names who said it."""
    return caller.name[:MOST_NAME]


def _meant(door: Door, asked: Say) -> None:
    """Raises Problem for a worker or a partition that is not there: nobody would obey, and nobody would notice."""
    if asked.command == "drain" and asked.partition is not None:
        raise Problem(400, "drain takes no partition: a worker leaves with all of its own")
    known = {state.worker_id for state in door.fleet.workers(time.time())}
    if asked.worker != EVERYBODY and asked.worker not in known:
        raise Problem(404, f"no worker {asked.worker} has reported in the last minutes")
    if asked.partition is not None and asked.partition not in door.hub.tail.partitions(Stream.REQUESTS):
        raise Problem(404, f"{door.cluster.topics.requests} has no partition {asked.partition}")
