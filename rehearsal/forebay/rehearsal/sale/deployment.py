"""Worker processes of a rehearsal, started and ended as a Deployment's pods would be."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from forebay.rehearsal.worker_processes import FleetError, WorkerProcess

_START_S = 120.0
_STOP_S = 60.0
_LOOK_S = 0.1
_MOST_FAILURES = 20
"""Starts that may fail: while Kafka is away none succeeds."""


@dataclass(slots=True, eq=False)
class _Pod:
    name: str
    process: WorkerProcess | None = None
    ready: bool = False
    leaving: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Deployment:
    """Keeps as many pods as are wanted; `say` is told what happens to them.

    ``changed`` is called with the pods that take turns, whenever their number changes.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        pod_start_s: float,
        say: Callable[[str], None],
        changed: Callable[[int], None],
    ) -> None:
        self._folder, self._environment = folder, environment
        self._pod_start_s = pod_start_s
        self._say, self._changed = say, changed
        self._pods: list[_Pod] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._started = 0
        self._told = 0
        self.starts_s: list[float] = []
        """How long each process took from its start until it took turns."""
        self._failures = 0
        self.bad_ends: list[str] = []
        """Workers that were told to end in order and did not."""

    @property
    def wanted(self) -> int:
        """Pods there are to be."""
        return len(self._pods)

    @property
    def ready(self) -> int:
        """Pods that take turns."""
        return sum(pod.ready for pod in self._pods)

    async def start(self, pods: int) -> None:
        """The first pods; returns when they take turns. Raises FleetError."""
        for _ in range(pods):
            self._add(wait_s=0.0)
        await asyncio.gather(*(pod.task for pod in self._pods if pod.task is not None))
        self._tell()

    def scale(self, pods: int) -> None:
        """So many are wanted now: new ones begin to start, the youngest leave in order."""
        while self.wanted < pods:
            self._add(wait_s=self._pod_start_s)
        while self.wanted > pods:
            self._remove()

    def strike(self, place: int, wish: signal.Signals) -> None:
        """Sends a signal to the pod in this place, counted round and round."""
        at_work = [(pod.name, pod.process) for pod in self._pods if pod.ready and pod.process is not None]
        if at_work:
            name, process = at_work[place % len(at_work)]
            process.signal(wish)
            self._say(f"{name} (pid {process.pid}) got {wish.name}")

    def supervise(self) -> None:
        """Gives a pod that ended by itself, or could not start, a successor, as a Deployment does.

        Raises FleetError when that happens again and again.
        """
        for pod in list(self._pods):
            task, process = pod.task, pod.process
            failed = task is not None and task.done() and task.exception() is not None
            ended = pod.ready and process is not None and not process.running
            if not (failed or ended):
                continue
            self._failures += failed
            if self._failures > _MOST_FAILURES and task is not None:
                task.result()
            self._pods.remove(pod)
            if process is not None:
                process.close()
            how = "could not start" if failed or process is None else f"ended ({process.exit_status})"
            self._say(f"{pod.name} {how}; another one starts in its place")
            self._add(wait_s=self._pod_start_s)
        self._tell()

    async def stop(self) -> None:
        """Ends all of them in order."""
        while self._pods:
            self._remove()
        await asyncio.gather(*self._ending)

    async def close(self) -> None:
        """Ends at once what still runs."""
        tasks = [pod.task for pod in self._pods if pod.task is not None] + list(self._ending)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pod in self._pods:
            if pod.process is not None:
                pod.process.close()

    def _add(self, wait_s: float) -> None:
        self._started += 1
        pod = _Pod(f"worker-{self._started}")
        self._pods.append(pod)
        pod.task = asyncio.create_task(self._live(pod, wait_s), name=pod.name)

    async def _live(self, pod: _Pod, wait_s: float) -> None:
        """From the wish to readiness. A process of ours takes seconds to start, and what a pod takes longer is waited for."""
        if self.starts_s:
            await asyncio.sleep(wait_s - median(self.starts_s))
        began = time.monotonic()
        pod.process = WorkerProcess(pod.name, self._folder, self._environment)
        await pod.process.ready(_START_S)
        pod.ready = True
        self.starts_s.append(time.monotonic() - began)
        self._tell()

    def _remove(self) -> None:
        pod = self._pods.pop()
        pod.leaving = True
        self._tell()
        self._ending.add(task := asyncio.create_task(self._end(pod), name=f"{pod.name}.end"))
        task.add_done_callback(self._ending.discard)

    async def _end(self, pod: _Pod) -> None:
        if pod.task is not None and not pod.task.done():
            pod.task.cancel()
            await asyncio.gather(pod.task, return_exceptions=True)
        if pod.process is None:
            return
        try:
            if not pod.process.running:
                return
            if pod.ready:
                pod.process.signal(signal.SIGCONT)  # one that was stopped could not end
                pod.process.signal(signal.SIGTERM)
                await self._drained(pod.name, pod.process)
        finally:
            pod.process.close()

    async def _drained(self, name: str, process: WorkerProcess) -> None:
        give_up = time.monotonic() + _STOP_S
        while process.running and time.monotonic() < give_up:
            await asyncio.sleep(_LOOK_S)
        if process.exit_status != 0:
            self.bad_ends.append(f"{name}: {process.exit_status if not process.running else 'still running'}")

    def _tell(self) -> None:
        if self.ready != self._told:
            self._told = self.ready
            self._changed(self.ready)


__all__ = ["Deployment", "FleetError"]
