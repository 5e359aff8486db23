"""The workers of a run: three places, each with a process after the other in it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay.rehearsal.worker_processes import FleetError, WorkerProcess

from .evidence import Blow, BlowKind
from .worker_kinds import WorkerKind

_START_S = 120.0
_AGAIN_S = 1.0
"""How soon a process that ended by itself is started again, as any supervisor would."""
_STOP_S = 45.0


@dataclass(slots=True)
class _Life:
    """One process in a place."""

    process: WorkerProcess
    wanted: bool = True
    """Whether it is meant to run."""
    ended_at: float | None = None
    """When it was first seen to have ended by itself, in seconds of the loop's clock."""
    terminated: bool = False
    """Whether it was told to end in order when it was at work."""


class ChaosWorkers:
    """The processes of one engine, and the blows they were dealt."""

    def __init__(
        self, engine: WorkerKind, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._environment = {**environment, **engine.environment}
        self._say = say
        self._places: list[_Life] = []
        self._lives: list[_Life] = []
        self.blows: list[Blow] = []
        self.ended_by_themselves = 0

    async def start(self, workers: int) -> None:
        """Fills all places and waits until every process takes turns. Raises FleetError."""
        self._places = [self._begin(place) for place in range(workers)]
        await asyncio.gather(*(self._ready(life) for life in self._places))

    def strike(self, place: int, wish: signal.Signals) -> None:
        """Sends a signal to the process in a place."""
        life = self._places[place]
        if wish == signal.SIGKILL:
            life.wanted = False
            life.process.kill()
            self._blow(life, "sigkill")
        elif wish == signal.SIGTERM:
            # Before it is at work it has nothing to end in order.
            life.wanted, life.terminated = False, self._at_work(life)
            life.process.signal(wish)
        else:
            # Stopped and going on: at both moments it knows less than it thinks.
            life.process.signal(wish)
            self._blow(life, "sigstop")

    def restart(self, place: int) -> None:
        """Gives a place a new process; the old one may still be draining."""
        self._places[place] = self._begin(place)

    def supervise(self) -> None:
        """Starts again what ended by itself."""
        now = time.monotonic()
        for place, life in enumerate(self._places):
            if not life.wanted or life.process.running:
                continue
            if life.ended_at is None:
                life.ended_at = now
                self.ended_by_themselves += 1
                self._blow(life, "ended")
                self._say(
                    f"{life.process.name} ended by itself ({life.process.exit_status}): {life.process.last_line()}"
                )
            elif now - life.ended_at >= _AGAIN_S:
                self.restart(place)

    async def stop(self) -> list[str]:
        """Ends all in order; returns those that did not, with how they ended."""
        for life in self._lives:
            if life.wanted and life.process.running:
                life.terminated = self._at_work(life)
                life.process.signal(signal.SIGTERM)
        await asyncio.gather(*(asyncio.to_thread(_await_end, life.process) for life in self._lives))
        return [
            f"{life.process.name}: {'still running' if life.process.running else life.process.exit_status}"
            for life in self._lives
            if life.terminated and life.process.exit_status != 0
        ]

    def close(self) -> None:
        """Ends at once what still runs."""
        for life in self._lives:
            life.process.close()

    def _begin(self, place: int) -> _Life:
        name = f"worker-{place}-{len(self._lives)}"
        environment = {**self._environment, "ANTHROPIC_API_KEY": name}
        process = WorkerProcess(name, self._folder, environment, self._engine.command())
        self._lives.append(life := _Life(process))
        return life

    async def _ready(self, life: _Life) -> None:
        async with asyncio.timeout(_START_S):
            while not self._at_work(life):
                if not life.process.running:
                    raise FleetError(f"{life.process.name} ended: {life.process.last_line()}")
                await asyncio.sleep(0.1)

    def _at_work(self, life: _Life) -> bool:
        return life.process.logged(self._engine.ready, "event") is not None

    def _blow(self, life: _Life, kind: BlowKind) -> None:
        self.blows.append(Blow(life.process.name, kind, time.time()))


def _await_end(process: WorkerProcess) -> None:
    give_up = time.monotonic() + _STOP_S
    while process.running and time.monotonic() < give_up:
        time.sleep(0.05)
