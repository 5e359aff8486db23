"""Commands of an operator to the workers."""

from __future__ import annotations

import time

from aiohttp import web

from forebay.gateway.console.admin import admin_of, explained
from forebay.gateway.console.audit import target
from forebay.gateway.console.console import Console
from forebay.gateway.console.params import CommandParams
from forebay.gateway.http.access import Caller
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.parsing import body_of, parse
from forebay.gateway.http.problem import Problem
from forebay.gateway.stream.record import Stream
from forebay.schemas import EVERYBODY, ClusterError

MOST_NAME = 256


async def say(request: web.Request) -> web.Response:
    """Responds when Kafka has the command; the workers obey within moments, as the live stream shows."""
    caller, context, audit = admin_of(request), GatewayContext.of(request), Console.of(request).audit
    asked = parse(CommandParams, await body_of(request, context.settings.gateway_body_s))
    on = target(asked.worker, asked.partition)
    try:
        _meant(context, asked)
        said = await context.fleet.command(
            asked.command, worker=asked.worker, partition=asked.partition, issued_by=issuer(caller)
        )
    except (Problem, ClusterError) as error:
        audit.note(caller.name, asked.command, on, f"failed: {error}")
        raise (explained(error) if isinstance(error, ClusterError) else error) from None
    audit.note(caller.name, asked.command, on, "said", shown=False, command=said.command_id)
    return web.json_response(said.model_dump(mode="json") | {"worker": asked.worker}, status=202)


def issuer(caller: Caller) -> str:
    """The caller's name as a command carries it."""
    return caller.name[:MOST_NAME]


def _meant(context: GatewayContext, asked: CommandParams) -> None:
    """Raises Problem for a worker or partition that does not exist: nobody would obey, and nobody would notice."""
    if asked.command == "drain" and asked.partition is not None:
        raise Problem(400, "drain takes no partition: a worker leaves with all of its own")
    known = {state.worker_id for state in context.fleet.workers(time.time())}
    if asked.worker != EVERYBODY and asked.worker not in known:
        raise Problem(404, f"no worker {asked.worker} has reported in the last minutes")
    if asked.partition is not None and asked.partition not in context.hub.log_ends(Stream.REQUESTS):
        raise Problem(404, f"{context.cluster.topics.requests} has no partition {asked.partition}")
