"""Worker processes of a rehearsal: started, awaited until they are ready, killed, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path


class FleetError(Exception):
    """A worker did not start; the message is what it said last."""


class WorkerProcess:
    """One ``forebay worker`` with its own log file. It ends with `stop` or `kill`, at the latest with `close`."""

    def __init__(
        self, name: str, folder: Path, environment: Mapping[str, str], command: Sequence[str] | None = None
    ) -> None:
        """``command`` runs something else in the worker's place."""
        self.name = name
        self.log = folder / f"{name}.log"
        self._output = self.log.open("wb")
        self._process = subprocess.Popen(
            _dying_with_parent(command or [sys.executable, "-m", "forebay.cli", "worker"]),
            cwd=folder,
            env={**os.environ, **environment, "FOREBAY_HEALTH_PORT": "0", "FOREBAY_LOG": "json"},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the rehearsal, which then ends its workers in order
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    async def ready(self, timeout_s: float = 30.0) -> str:
        """Waits until it takes turns; returns the address of its health server. Raises FleetError."""
        async with asyncio.timeout(timeout_s):
            while True:
                if not self.running:
                    raise FleetError(f"{self.name} ended: {self.last_line()}")
                port = self.logged("health.listening", "port")
                if port is not None and await asyncio.to_thread(_is_ready, f"http://127.0.0.1:{port}/readyz"):
                    return f"http://127.0.0.1:{port}"
                await asyncio.sleep(0.05)

    def logged(self, event: str, field: str) -> object:
        """A field of the latest log line of this event, or None."""
        for line in reversed(self.log.read_text(errors="replace").splitlines()):
            if f'"{event}"' in line and line.startswith("{"):
                fields = json.loads(line)
                if fields.get("event") == event:
                    return fields.get(field)
        return None

    def last_line(self) -> str:
        """What it said last."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def kill(self) -> None:
        """SIGKILL: no goodbye, as when a machine dies."""
        self._process.kill()
        self._process.wait()

    def signal(self, wish: signal.Signals) -> None:
        """Sends a signal and does not wait."""
        self._process.send_signal(wish)

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM, and its exit status once it has drained."""
        self._process.terminate()
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """Ends it at once if it still runs, and its log."""
        if self.running:
            self.kill()
        self._output.close()


class GatewayProcess(WorkerProcess):
    """One ``forebay gateway``, open on this machine."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str], port: int = 0) -> None:
        """``port`` 0 takes a free one."""
        given = {"FOREBAY_GATEWAY_OPEN": "true", "FOREBAY_GATEWAY_PORT": str(port)}
        super().__init__(name, folder, {**given, **environment}, [sys.executable, "-m", "forebay.cli", "gateway"])

    @property
    def url(self) -> str:
        """Where it listens, once it is ready."""
        return str(self.logged("gateway.listening", "url"))


_LAUNCH = (
    f"import ctypes, os, sys; ctypes.CDLL(None).prctl(1, {signal.SIGKILL:d}); os.execvp(sys.argv[1], sys.argv[1:])"
)


def _dying_with_parent(command: Sequence[str]) -> Sequence[str]:
    """Linux kills it when the process that started it is gone, however it went (prctl(2), 1 is PR_SET_PDEATHSIG).

    By a Python of its own that becomes the command: code of ours between fork and exec (``preexec_fn``) can hang for ever
    where the parent has threads.
    """
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, *command] if sys.platform == "linux" else command


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - an address of our own
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
