"""A running engine: started, sampled, and ended by its own handle."""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """What an engine had used at one moment, its children included."""

    at: float
    """Unix time, seconds."""

    cpu_s: float
    """User and system time so far, seconds."""

    rss_bytes: int
    """Resident memory now, bytes."""


class EngineProcess:
    """One engine process and what it used."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        self._process = psutil.Process(self._popen.pid)
        self.samples: list[ProcessSample] = []

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def last_words(self) -> str:
        """The last line it printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing printed"

    def sample(self) -> None:
        """Notes what it has used so far; nothing once it has ended."""
        try:
            processes = [self._process, *self._process.children(recursive=True)]
            times = [process.cpu_times() for process in processes]
            rss = sum(process.memory_info().rss for process in processes)
        except psutil.Error:
            return
        cpu = sum(spent.user + spent.system for spent in times)
        self.samples.append(ProcessSample(time.time(), cpu, rss))

    async def watch(self, every_s: float = 0.1) -> None:
        """Samples until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(every_s)

    async def stop(self) -> None:
        """Asks it to end, then makes it end."""
        if self.running:
            self._popen.terminate()
        try:
            await asyncio.to_thread(self._popen.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            await asyncio.to_thread(self._popen.wait)
