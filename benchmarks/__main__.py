"""`python -m benchmarks`: every scenario, every engine, medians of several runs."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from forebay.rehearsal.servers.kafka import EmbeddedKafka

from . import machine, table
from .compared_engines import ENGINES, Engine
from .engine_figures import EngineFigures, medians
from .measure import EngineFailedError, Session
from .workloads import SCENARIOS, Workload

# Replies and backlogs of one session stay well below this; the broker's log needs no cleaning meanwhile.
BROKER_SETTINGS = {"log.retention.ms": "-1"}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [engine.name for engine in ENGINES] + [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--runs", type=int, default=3, help="runs of each engine in each scenario (3)")
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="one run of a quarter of the turns")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    return parser.parse_args()


def chosen(only: Sequence[str]) -> tuple[list[Engine], list[Workload]]:
    """The engines and scenarios named, or all where none of a kind is named; and what those are compared with."""
    engines = [engine for engine in ENGINES if engine.name in only] or list(ENGINES)
    named = {scenario.name for scenario in SCENARIOS if scenario.name in only} or {s.name for s in SCENARIOS}
    named |= {scenario.against for scenario in SCENARIOS if scenario.name in named and scenario.against}
    return engines, [scenario for scenario in SCENARIOS if scenario.name in named]


class Benchmark:
    """One session: engines take turns on one broker, so that a slow hour of the machine meets all of them."""

    def __init__(self, session: Session, engines: Sequence[Engine], console: Console) -> None:
        self._session = session
        self._engines = engines
        self._console = console
        self._unavailable = {engine.name: reason for engine in engines if (reason := engine.missing())}
        self.results: dict[tuple[str, str], EngineFigures | str] = {}

    def build(self) -> None:
        """Builds what has to be built; an engine that cannot be is left out with the reason."""
        for engine in self._engines:
            if engine.name in self._unavailable:
                continue
            try:
                engine.build()
            except Exception as error:
                self._unavailable[engine.name] = f"could not be built: {error}".splitlines()[0]

    async def measure(self, scenario: Workload, runs: int) -> table.ScenarioTable:
        """All engines in one scenario."""
        await self._session.prepare(scenario)
        found: defaultdict[str, list[EngineFigures]] = defaultdict(list)
        for number in range(1, runs + 1):
            for engine in self._engines:
                key = (scenario.name, engine.name)
                if reason := self._unavailable.get(engine.name) or engine.without(scenario):
                    self.results[key] = reason
                elif not isinstance(self.results.get(key), str):
                    self._console.print(f"[dim]{scenario.name} {number}/{runs} {engine.name}")
                    await self._run(engine, scenario, found[engine.name])
        return table.ScenarioTable(scenario, self._engines, self.results)

    async def _run(self, engine: Engine, scenario: Workload, found: list[EngineFigures]) -> None:
        key = (scenario.name, engine.name)
        try:
            found.append(await self._session.run(engine, scenario))
        except EngineFailedError as error:
            self.results[key] = f"failed: {error}"
        else:
            self.results[key] = medians(found)


async def run(options: argparse.Namespace, bootstrap: str, folder: Path, console: Console) -> str:
    """Measures, prints, and returns the Markdown. SIGTERM ends it in order, like Ctrl-C."""
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    engines, scenarios = chosen(options.only)
    benchmark = Benchmark(Session(bootstrap, folder), engines, console)
    benchmark.build()
    runs = 1 if options.quick else options.runs
    sections = []
    for scenario in scenarios:
        measured = await benchmark.measure(scenario.quick() if options.quick else scenario, runs)
        table.show(console, measured)
        sections.append(table.markdown(measured))
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    facts = f"`{command}`, medians of {runs}.\n{machine.machine()}. {machine.versions()}."
    console.print(facts)
    return "\n\n".join([facts, *sections])


def main() -> None:
    """Starts a broker for the session and ends it afterwards."""
    options, console = arguments(), Console()
    with (
        tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder,
        EmbeddedKafka.running(settings=BROKER_SETTINGS, progress=console.print) as kafka,
    ):
        text = uvloop.run(run(options, kafka.bootstrap_servers, Path(folder), console))
    if options.write:
        table.write(text)


if __name__ == "__main__":
    main()
