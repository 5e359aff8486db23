"""The life of an embedded server: a child process and its folder, from start to stop."""

from __future__ import annotations

import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .child_process import Child, taken


@dataclass(slots=True)
class EmbeddedServer(ABC):
    """One server on this machine. Use `running` (or `start` and `stop`)."""

    data: Path | None = None
    """Folder that keeps the data over restarts; None keeps them only while the server runs."""
    port: int = 0
    """Port on 127.0.0.1; 0 takes a free one."""

    _child: Child | None = field(default=None, init=False)
    _folder: Path | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """Process id of the shell that holds the server; None when it does not run."""
        return self._child.pid if self._child else None

    @classmethod
    @contextmanager
    def running(cls, **fields: object) -> Iterator[Self]:
        """Starts a server with these fields and stops it at the end of the block."""
        server = cls(**fields)  # type: ignore[arg-type]
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @abstractmethod
    def start(self) -> None:
        """Blocks until the server answers."""

    def stop(self, *, kill: bool = False) -> None:
        """Ends the server and, when it keeps no data, removes its folder. Safe to call twice.

        ``kill`` ends it at once (SIGKILL) and leaves the folder even when it keeps no data, so that `start` brings it
        back on the same port.
        """
        child, self._child = self._child, None
        if child is not None and kill:
            child.kill()
            while taken(self.port):
                time.sleep(0.01)  # the server was an orphan for its last moment; its port must be free for `start`
        elif child is not None:
            child.end(in_order=self.data is not None)
        if self.data is None and not kill and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _make_folder(self, name: str) -> Path:
        """The folder of its data and log: the one it had before, or a new one."""
        if self._folder is None:
            self._folder = self.data or Path(tempfile.mkdtemp(prefix=f"forebay-{name}-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder
