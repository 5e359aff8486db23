"""Replays and purges of dead letters, each with a dry run before it."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from forebay.gateway.console import views
from forebay.gateway.console.admin import admin_of
from forebay.gateway.console.console import Console
from forebay.gateway.console.jobs import Job
from forebay.gateway.console.params import LetterParams, PurgeParams, ReplayParams
from forebay.gateway.http.context import GatewayContext
from forebay.gateway.http.parsing import body_of, parse
from forebay.gateway.http.problem import Problem
from forebay.operations.dead_letters.dead_letters import DeadLetters
from forebay.operations.dead_letters.replay_plan import ReplayPlan

from .browsing import reading

COUNT_S = 60.0
"""How long counting may take while a request waits, in seconds; a replay itself may count for as long as it needs."""


async def replay(request: web.Request) -> web.Response:
    """The plan for a dry run; else starts the job and returns it at once."""
    caller = admin_of(request)
    console, context = Console.of(request), GatewayContext.of(request)
    asked = parse(ReplayParams, await body_of(request, context.settings.gateway_body_s))
    wanted = asked.filter(context.cluster.topics.dead_letters)
    if not asked.everything and not asked.model_dump(include=set(LetterParams.model_fields), exclude_defaults=True):
        raise Problem(400, "nothing narrows it: give a filter or ids, or say everything")
    if asked.dry_run:
        async with reading(request, COUNT_S) as letters:
            plan = await letters.plan(wanted, again=asked.again, max_replays=asked.max_replays)
        return web.json_response(views.plan(plan, asked.limit))

    async def work(job: Job) -> None:
        async with DeadLetters(context.cluster) as letters:
            plan = await letters.plan(wanted, again=asked.again, max_replays=asked.max_replays)
            await _send(job, letters, plan, asked)

    job = console.jobs.begin(Job("replay", caller.name, asked.words()))
    console.audit.note(job.who, "replay", job.on, "begun", job=job.job_id)
    console.jobs.run(job, work, partial(_ended, console))
    return web.json_response(job.fields(), status=202)


async def purge(request: web.Request) -> web.Response:
    """The plan for a dry run; else deletes the letters, if their number is still the one that was confirmed."""
    caller = admin_of(request)
    console, context = Console.of(request), GatewayContext.of(request)
    asked = parse(PurgeParams, await body_of(request, context.settings.gateway_body_s))
    if (asked.before is None) != asked.everything:
        raise Problem(400, "give a time before which they died, or say everything; not both")
    if asked.dry_run:
        async with reading(request, COUNT_S) as letters:
            found = await letters.plan_purge(asked.before)
        return web.json_response({"letters": found.letters, "replayed": found.replayed, "reasons": found.reasons})
    if asked.confirm is None:
        raise Problem(400, "confirm: repeat the number of letters that the dry run said")
    job = console.jobs.begin(Job("purge", caller.name, asked.words()))
    try:
        async with reading(request, COUNT_S) as letters:
            await _delete(job, letters, asked)
    except Problem as error:
        job.end("failed", str(error))
        raise
    finally:
        if not job.over:
            job.end("failed", "broken off: it may have been done")
        _ended(console, job)
    return web.json_response(job.fields())


async def job(request: web.Request) -> web.Response:
    """State of a job."""
    admin_of(request)
    return web.json_response(Console.of(request).jobs.find(request.match_info["id"]).fields())


async def stop(request: web.Request) -> web.Response:
    """Stops a replay after the batch that it is sending."""
    caller, console = admin_of(request), Console.of(request)
    stopped = console.jobs.stop(request.match_info["id"])
    console.audit.note(caller.name, f"stop {stopped.kind}", stopped.on, stopped.state, job=stopped.job_id)
    return web.json_response(stopped.fields())


async def _send(job: Job, letters: DeadLetters, plan: ReplayPlan, asked: ReplayParams) -> None:
    total = plan.selected if asked.limit is None else min(plan.selected, asked.limit)
    job.running(total)
    sent = await letters.replay(plan, rate=asked.rate, limit=asked.limit, on_progress=job.progressed, stop=job.stop)
    job.progressed(sent.replayed)
    large = f"; {len(sent.too_large):,} are larger than the requests' topic takes" if sent.too_large else ""
    job.end("stopped" if sent.stopped else "done", f"sent {sent.replayed:,} of {total:,}{large}")


async def _delete(job: Job, letters: DeadLetters, asked: PurgeParams) -> None:
    found = await letters.plan_purge(asked.before)
    job.running(found.letters)
    if found.letters != asked.confirm:
        raise Problem(409, f"it is {found.letters:,} letters now, and {asked.confirm:,} were confirmed: look again")
    await letters.purge(found)
    job.progressed(found.letters)
    job.end("done", f"deleted {found.letters:,}")


def _ended(console: Console, job: Job) -> None:
    outcome = f"{job.state}: {job.message}" if job.message else job.state
    console.audit.note(job.who, job.kind, job.on, outcome, job=job.job_id, letters=job.done)
