"""`python -m forebay.rehearsal.chaos`: seeds, engines, and at the end what was lost, doubled, reordered or asked twice."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from rich.console import Console

from forebay.rehearsal.servers.kafka import EmbeddedKafka, EmbeddedKafkaError
from forebay.rehearsal.worker_processes import FleetError
from forebay.schemas import SettingsError

from . import chaos_report
from .chaos_run import BROKER, ChaosOutcome, Say, SeededRun, run
from .schedule import RATE
from .worker_kinds import ENGINES, WorkerKind, named

_WIDTH = 130
"""Columns of the tables where no terminal says how many there are."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m forebay.rehearsal.chaos", description=__doc__)
    names = [engine.name for engine in ENGINES]
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds (5)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them (1)")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of traffic of each (60)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"records a second ({RATE:g})")
    parser.add_argument(
        "--engine", nargs="+", choices=names, default=["forebay"], metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks of this document")
    parser.add_argument("--plan", action="store_true", help="only print what would happen")
    parser.add_argument("--keep", action="store_true", help="keep logs and data also when all went well")
    parser.add_argument("--verbose", action="store_true", help="tell each event")
    return parser.parse_args()


class Chaos:
    """Runs seeds and engines one after another."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self.found: list[tuple[WorkerKind, list[ChaosOutcome]]] = []
        self.missing: list[tuple[WorkerKind, str]] = []
        self.kept = True

    @property
    def rehearsals(self) -> list[SeededRun]:
        """The runs of each engine."""
        first, options = self._options.first_seed, self._options
        return [SeededRun(seed, options.seconds, options.rate) for seed in range(first, first + options.seeds)]

    def all(self) -> None:
        """Every seed of every engine that can run here."""
        for engine in map(named, self._options.engine):
            if reason := engine.missing():
                self.missing.append((engine, reason))
                self._console.print(f"{engine.title}: {reason}")
                continue
            outcomes = [self._one(engine, rehearsal) for rehearsal in self.rehearsals]
            self.found.append((engine, outcomes))
            self._console.print(chaos_report.seed_table(engine, outcomes))

    def _one(self, engine: WorkerKind, rehearsal: SeededRun) -> ChaosOutcome:
        folder = Path(tempfile.mkdtemp(prefix=f"forebay-chaos-{rehearsal.seed}-"))
        began = time.monotonic()
        with self._console.status(f"{engine.title}, seed {rehearsal.seed}") as status:

            def say(what: str) -> None:
                status.update(f"{engine.title}, seed {rehearsal.seed}: {what}")
                if self._options.verbose:
                    self._console.print(f"{time.monotonic() - began:6.1f} s  {what}", highlight=False)

            outcome = perform(engine, rehearsal, folder, say)
        self._tell(engine, outcome)
        broken = engine.judged and bool(outcome.broken())
        self.kept = self.kept and not broken
        if broken or self._options.keep:
            self._console.print(f"  logs and data: {folder}", highlight=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _tell(self, engine: WorkerKind, outcome: ChaosOutcome) -> None:
        rehearsal, counts = outcome.rehearsal, outcome.counts
        self._console.print(
            f"{engine.title}, seed {rehearsal.seed}: {counts.turns:,} turns, {len(rehearsal.events)} events, "
            f"{outcome.seconds:.0f} s: lost {counts.lost}, two answers {counts.conflicting}, "
            f"out of order {counts.out_of_order}, model calls made again {counts.extra_calls}, "
            f"of answered turns {counts.extra_after_reply}",
            highlight=False,
        )
        broken = outcome.broken() if engine.judged else []
        for line in (*broken, *(counts.examples if broken or self._options.verbose else ())):
            self._console.print(f"  {line}", style="red" if line in broken else "", highlight=False)
        if broken:
            again = f"--first-seed {rehearsal.seed} --seeds 1 --seconds {rehearsal.seconds:g} --rate {rehearsal.rate:g}"
            self._console.print(f"  again: python -m forebay.rehearsal.chaos {again} --verbose", highlight=False)


def perform(engine: WorkerKind, rehearsal: SeededRun, folder: Path, say: Say) -> ChaosOutcome:
    """One run with a broker of its own."""
    with EmbeddedKafka.running(data=folder / "kafka", settings=BROKER, progress=say) as kafka:
        return uvloop.run(_until_told(rehearsal, kafka, folder, engine, say))


async def _until_told(
    rehearsal: SeededRun, kafka: EmbeddedKafka, folder: Path, engine: WorkerKind, say: Say
) -> ChaosOutcome:
    """SIGTERM ends a run in order, like Ctrl-C."""
    current = asyncio.current_task()
    assert current is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, current.cancel)
    return await run(rehearsal, kafka, folder, engine, say)


def main() -> int:
    """Exit status 0 when every promise was kept, 1 when one was broken, 2 when a run could not be made."""
    options, console = arguments(), Console(width=None if sys.stdout.isatty() else _WIDTH)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that Kafka is away is what we are here for
    chaos = Chaos(options, console)
    if options.plan:
        for rehearsal in chaos.rehearsals:
            for event in rehearsal.events:
                console.print(f"seed {rehearsal.seed}, after {event}", highlight=False)
        return 0
    try:
        chaos.all()
    except (EmbeddedKafkaError, FleetError, SettingsError) as error:
        console.print(f"chaos: {error}", style="red", highlight=False)
        return 2
    if len(options.engine) > 1:
        console.print(chaos_report.engine_table(chaos.found))
    if options.write is not None:
        chaos_report.write(chaos_report.markdown(chaos.found, chaos.missing), options.write)
    return 0 if chaos.kept else 1


if __name__ == "__main__":
    sys.exit(main())
