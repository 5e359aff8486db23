"""Jobs that take longer than a request. One runs at a time: two would stop each other, or count what the other deletes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from forebay.gateway.http.problem import Problem
from forebay.schemas import ClusterError, new_id

log = structlog.get_logger()

LEAVE_S = 4.0
"""How long a job may take to stop when the gateway stops, in seconds; then it is cancelled, which loses nothing."""


@dataclass(slots=True)
class Job:
    """One replay or purge."""

    kind: Literal["replay", "purge"]
    who: str
    on: str
    """The dead letters, in words."""
    job_id: str = field(default_factory=new_id)
    began_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    planned: int | None = None
    """Number of letters in the plan; None while they are counted."""
    done: int = 0
    state: Literal["counting", "running", "stopping", "done", "stopped", "failed"] = "counting"
    message: str = ""
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.ended_at is not None

    def progressed(self, done: int) -> None:
        """Notes the number of letters done so far."""
        self.done = done

    def running(self, planned: int) -> None:
        """Notes the number of letters in the plan."""
        self.planned = planned
        if self.state == "counting":
            self.state = "running"

    def end(self, state: Literal["done", "stopped", "failed"], message: str) -> None:
        """Ends it with this state and message."""
        self.state, self.message, self.ended_at = state, message, time.time()

    def fields(self) -> dict[str, Any]:
        """Its fields for JSON."""
        names = ("kind", "who", "on", "job_id", "began_at", "ended_at", "planned", "done", "state", "message")
        return {name: getattr(self, name) for name in names}


class Jobs:
    """Holds the job that runs, or ran last."""

    def __init__(self) -> None:
        self.latest: Job | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, job: Job) -> Job:
        """Makes this the current job. Raises Problem while another one runs."""
        if self.latest is not None and not self.latest.over:
            running = self.latest
            raise Problem(
                409,
                f"a {running.kind} by {running.who} is under way at this gateway: wait for it or stop it",
                job=running.fields(),
            )
        self.latest = job
        return job

    def run(self, job: Job, work: Callable[[Job], Awaitable[None]], ended: Callable[[Job], None]) -> None:
        """Does the work in the background; ``ended`` is called when it is over, for whatever reason."""
        self._task = asyncio.create_task(self._run(job, work, ended), name=f"gateway.console.{job.kind}")

    def stop(self, job_id: str) -> Job:
        """Asks a job to stop after its current batch. Raises Problem."""
        job = self.find(job_id)
        if not job.over:
            job.stop.set()
            job.state = "stopping"
        return job

    def find(self, job_id: str) -> Job:
        """The job with this id. Raises Problem."""
        if self.latest is None or self.latest.job_id != job_id:
            raise Problem(404, "this gateway knows no such job: it remembers the latest")
        return self.latest

    async def close(self) -> None:
        """Stops the job: the gateway stops."""
        if self._task is None or self.latest is None:
            return
        self.latest.stop.set()
        await asyncio.wait([self._task], timeout=LEAVE_S)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, job: Job, work: Callable[[Job], Awaitable[None]], ended: Callable[[Job], None]) -> None:
        try:
            await work(job)
        except ClusterError as error:
            job.end("failed", str(error))
        except asyncio.CancelledError:
            job.end(
                "stopped", f"broken off after {job.done:,}: the gateway left; the same replay goes on with the rest"
            )
            raise
        except Exception as error:
            log.error("console.job_failed", kind=job.kind, error=repr(error), exc_info=True)
            job.end("failed", "a mistake of the gateway, see its log")
        finally:
            ended(job)
