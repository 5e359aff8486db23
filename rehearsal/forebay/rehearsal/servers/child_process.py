"""A server in a process of its own that ends with the process that started it, however that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# The shell outlives neither side: a closed pipe on standard input (the parent is gone, even by SIGKILL) ends the server
# and removes what was to be kept only so long; the server's end ends the shell. This needs nothing but POSIX, where
# PR_SET_PDEATHSIG is Linux alone.
_ENDS_WITH_PARENT = (
    'exec 3<&0; remove=$1; shift; "$@" </dev/null & child=$!; '
    '{ read -r _ <&3; kill -KILL "$child"; test -z "$remove" || rm -rf "$remove"; } 2>/dev/null & '
    'trap \'kill -TERM "$child"\' TERM; wait "$child"; wait "$child"'
)
_PATIENCE_S = 20.0


class Child:
    """One running server."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, log: Path, *, remove_folder: bool) -> None:
        """Starts it in ``folder``, which it takes with it if so asked; what it says goes to ``log``."""
        read, write = os.pipe()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _ENDS_WITH_PARENT, name, str(folder) if remove_folder else "", *command],
                cwd=folder,
                stdin=read,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we then end the server in order
            )
        os.close(read)
        self._lifeline = os.fdopen(write, "wb")

    @property
    def pid(self) -> int:
        """Process id of the shell that holds the server."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self, *, in_order: bool) -> None:
        """Ends it: at once, or by SIGTERM when it has something to put in order."""
        if in_order:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_S)
        self._lifeline.close()
        self._process.wait(_PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL, to the shell too: the folder stays."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._lifeline.close()
        self._process.wait(_PATIENCE_S)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def taken(port: int) -> bool:
    """Whether somebody uses this port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
