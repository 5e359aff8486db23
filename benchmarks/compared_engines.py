"""The engines and how each is started."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .peers import parallel_consumer
from .workloads import Workload

Command = Callable[[Path], list[str]]


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine; every run of it is a fresh process."""

    name: str
    """Its name on the command line."""

    title: str
    """Its row in the tables."""

    command: Command
    """The command line for a contract file."""

    missing: Callable[[], str | None] = lambda: None
    """Why it cannot run on this machine, in one line, or None."""

    build: Callable[[], None] = lambda: None
    """What has to happen once before the first run."""

    one_at_a_time: bool = False
    """Handles one turn of a partition at a time, so a few turns tell its rate."""

    scenarios: frozenset[str] | None = None
    """The scenarios it takes part in; None is all."""

    def cap_s(self, scenario: Workload) -> float:
        """Seconds after its start at which it is stopped, done or not."""
        return min(scenario.cap_s, 30.0) if self.one_at_a_time else scenario.cap_s

    def without(self, scenario: Workload) -> str | None:
        """Why this engine is left out of a scenario, in one line, or None."""
        if self.scenarios is not None and scenario.name not in self.scenarios:
            return "see steady"
        if self.one_at_a_time and scenario.only_concurrent:
            return "one turn at a time: see steady"
        return None


def python(module: str) -> Command:
    """The command line of a Python engine."""
    return lambda contract: [sys.executable, "-m", module, str(contract)]


def module_missing(module: str, reason: str) -> Callable[[], str | None]:
    """Says why when this module cannot be found."""
    return lambda: None if importlib.util.find_spec(module) else reason


WITHOUT_FASTSTREAM = module_missing("faststream", "needs `pip install faststream[kafka]`")

ENGINES = (
    Engine(
        "forebay",
        "Forebay",
        python("benchmarks.engine"),
        missing=module_missing("benchmarks.engine", "benchmarks/engine.py is missing"),
    ),
    Engine("bare-aiokafka", "aiokafka, batches grouped by key", python("benchmarks.peers.bare_aiokafka")),
    Engine(
        "faststream-at-least-once",
        "FastStream, at least once",
        python("benchmarks.peers.faststream_at_least_once"),
        missing=WITHOUT_FASTSTREAM,
        one_at_a_time=True,
    ),
    Engine(
        "faststream-at-most-once",
        "FastStream, concurrent (at MOST once)",
        python("benchmarks.peers.faststream_at_most_once"),
        missing=WITHOUT_FASTSTREAM,
    ),
    Engine(
        "parallel-consumer",
        "Parallel Consumer (Java)",
        lambda contract: parallel_consumer.command("peer.Worker", str(contract)),
        missing=parallel_consumer.missing,
        build=parallel_consumer.build,
    ),
    Engine(
        "parallel-consumer-defaults",
        "Parallel Consumer (Java), the JVM's own heap and collector",
        lambda contract: parallel_consumer.command("peer.Worker", str(contract), jvm=()),
        missing=parallel_consumer.missing,
        build=parallel_consumer.build,
        scenarios=frozenset({"steady"}),
    ),
)
