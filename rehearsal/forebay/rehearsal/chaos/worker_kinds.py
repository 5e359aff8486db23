"""Who can be driven through a schedule: Forebay, and what a team would write without it."""

from __future__ import annotations

import importlib.util
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


def _faststream_missing() -> str | None:
    return None if importlib.util.find_spec("faststream") else "needs `pip install 'faststream[kafka]'`"


def _java() -> list[str]:
    """Java compiles the one file as it starts it."""
    source = _peers() / "chaos" / "ParallelConsumer.java"
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", str(_libraries() / "*"), str(source)]


def _peers() -> Path:
    """The peers stand beside the benchmarks, in a checkout: what is installed does not bring them."""
    found = importlib.util.find_spec("benchmarks")
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places or ("benchmarks",)))) / "peers"


def _libraries() -> Path:
    return _peers() / "parallel_consumer" / "target" / "lib"


def _java_missing() -> str | None:
    if shutil.which("java") is None:
        return "needs a JDK 17 or newer (`java` is not on the path)"
    if not _libraries().is_dir():
        return "needs its libraries, which `python -m benchmarks --only parallel-consumer` fetches with Maven"
    return None


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

_PEERS = "benchmarks.peers.chaos"

ENGINES = (
    FOREBAY,
    WorkerKind("bare-aiokafka", "aiokafka, batches by key", _python(f"{_PEERS}.bare_aiokafka"), "peer.started"),
    WorkerKind(
        "faststream",
        "FastStream, at least once",
        _python(f"{_PEERS}.faststream_app", "ack"),
        "peer.started",
        missing=_faststream_missing,
    ),
    WorkerKind(
        "faststream-concurrent",
        "FastStream, concurrent (at MOST once)",
        _python(f"{_PEERS}.faststream_app", "ack_first"),
        "peer.started",
        missing=_faststream_missing,
    ),
    WorkerKind("parallel-consumer", "Parallel Consumer (Java)", _java, "peer.started", missing=_java_missing),
)


def named(name: str) -> WorkerKind:
    """The engine of that name. Raises KeyError."""
    return {engine.name: engine for engine in ENGINES}[name]
