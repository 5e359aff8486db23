"""What every engine is told, whatever its language: one JSON file, its only argument."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Contract:
    """The work of one engine process. It runs until SIGTERM.

    Each record is a simulated call (calls.py), then a reply `{"turn_id", "conversation_id"}` keyed by the
    conversation id, with acks=all.
    """

    bootstrap: str
    """Broker address, host:port."""

    topic: str
    """Where the turns wait; read from its beginning."""

    reply_topic: str
    """Where the replies go."""

    group: str
    """Consumer group, fresh for every run."""

    concurrency: int
    """Calls in flight at most."""

    latency_ms: float
    """Mean length of a call, milliseconds; 0 means no call."""

    jitter: float
    """Half width of the uniform spread, as a share of the mean: 0.5 is plus or minus 50%."""

    slow_every: int
    """A turn whose sequence number this divides is slow; 0 means none."""

    slow_s: float
    """Length of a slow call, seconds."""

    seed: int
    """Seed of the call lengths, below 2**63."""

    @classmethod
    def read(cls, path: str | Path) -> Contract:
        """The contract in this file."""
        return cls(**json.loads(Path(path).read_text()))

    @classmethod
    def from_command_line(cls) -> Contract:
        """The contract in the file that is the only argument."""
        if len(sys.argv) != 2:
            raise SystemExit("usage: ENGINE CONTRACT.json")
        return cls.read(sys.argv[1])

    def write(self, path: Path) -> Path:
        """Writes the file that `read` reads."""
        path.write_text(json.dumps(asdict(self), indent=1))
        return path
