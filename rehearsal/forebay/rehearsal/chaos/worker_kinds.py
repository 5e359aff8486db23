"""What can be driven through a schedule: Forebay's worker, and what a team would write without it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """One kind of worker process. All read the same environment and do the same job."""

    name: str
    """Its name on the command line."""
    title: str
    """Its row in the tables."""
    command: Callable[[], list[str]]
    """The command line of one of its processes."""
    ready: str
    """The event in its log that says it takes turns."""
    group: str = "peers"
    """Its consumer group."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings that make a run short; none weakens a promise."""
    judged: bool = False
    """Whether it promises anything: a broken promise then fails the run. The others are only counted."""
    missing: Callable[[], str | None] = lambda: None
    """Why it cannot run on this machine, in one line, or None."""


def _python(*module: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", *module]


_CHECKOUT = Path(__file__).resolve().parents[4]
"""The repository, where this runs from one: the peers stand beside its benchmarks, and what is installed has neither."""
_PEERS = _CHECKOUT / "benchmarks" / "peers"
_LIBRARIES = _PEERS / "parallel_consumer" / "target" / "lib"


def _peers_missing() -> str | None:
    return None if _PEERS.is_dir() else "needs a checkout of Forebay: what is installed brings no other engines"


def _faststream_missing() -> str | None:
    if reason := _peers_missing():
        return reason
    return None if importlib.util.find_spec("faststream") else "needs `pip install 'faststream[kafka]'`"


def _java_missing() -> str | None:
    if reason := _peers_missing():
        return reason
    if shutil.which("java") is None:
        return "needs a JDK 17 or newer (`java` is not on the path)"
    if not _LIBRARIES.is_dir():
        return "needs its libraries, which `python -m benchmarks --only parallel-consumer` fetches with Maven"
    return None


def _java() -> list[str]:
    """Java compiles the one file as it starts it."""
    source = _PEERS / "chaos" / "ParallelConsumer.java"
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", str(_LIBRARIES / "*"), str(source)]


def _peer(name: str, title: str, command: Callable[[], list[str]], missing: Callable[[], str | None]) -> WorkerKind:
    path = os.pathsep.join(filter(None, [str(_CHECKOUT), os.environ.get("PYTHONPATH")]))
    return WorkerKind(name, title, command, "peer.started", environment={"PYTHONPATH": path}, missing=missing)


FOREBAY = WorkerKind(
    "forebay",
    "Forebay",
    _python("forebay.cli", "worker"),
    "worker.started",
    "forebay-workers",
    {
        # A turn that expires would hide one that is lost.
        "FOREBAY_TURN_TTL_S": "900",
        "FOREBAY_ASSISTANT": "forebay.rehearsal.chaos.chaos_assistant:assistant",
        "FOREBAY_DRAIN_S": "12",
        "FOREBAY_CALL_TIMEOUT_S": "8",
        "FOREBAY_FIRST_TOKEN_TIMEOUT_S": "5",
        "FOREBAY_BETWEEN_TOKENS_TIMEOUT_S": "3",
        "FOREBAY_BREAKER_OPEN_S": "5",
    },
    judged=True,
)

_BARE = _python("benchmarks.peers.chaos.bare_aiokafka")
_FASTSTREAM = "benchmarks.peers.chaos.faststream_app"

ENGINES = (
    FOREBAY,
    _peer("bare-aiokafka", "aiokafka, batches by key", _BARE, _peers_missing),
    _peer("faststream", "FastStream, at least once", _python(_FASTSTREAM, "ack"), _faststream_missing),
    _peer(
        "faststream-concurrent",
        "FastStream, concurrent (at MOST once)",
        _python(_FASTSTREAM, "ack_first"),
        _faststream_missing,
    ),
    _peer("parallel-consumer", "Parallel Consumer (Java)", _java, _java_missing),
)


def named(name: str) -> WorkerKind:
    """The engine of that name. Raises KeyError."""
    return {engine.name: engine for engine in ENGINES}[name]
