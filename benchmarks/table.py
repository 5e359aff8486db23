"""The figures as rows, on a terminal and in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .compared_engines import Engine
from .engine_figures import EngineFigures
from .workloads import Workload

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
COLUMNS = ("turns/s", "of ideal", "CPU ms/turn", "peak MB", "out of order", "doubled", "lost")

Results = Mapping[tuple[str, str], EngineFigures | str]
"""Figures by scenario and engine name, or the line that stands in their place."""


@dataclass(frozen=True, slots=True)
class ScenarioTable:
    """The rows of one scenario."""

    scenario: Workload
    engines: Sequence[Engine]
    results: Results

    @property
    def columns(self) -> tuple[str, ...]:
        against = self.scenario.against
        return ("engine", *COLUMNS, *([f"of its {against} rate"] if against else []))

    @property
    def rows(self) -> list[list[str]]:
        return [self._row(engine) for engine in self.engines]

    @property
    def notes(self) -> list[str]:
        """Why a row is empty or was cut short, one line an engine."""
        found = [
            (engine.title, _note(self.scenario, self.results[self.scenario.name, engine.name]))
            for engine in self.engines
        ]
        return [f"{title}: {note}." for title, note in found if note]

    def _row(self, engine: Engine) -> list[str]:
        found = self.results[self.scenario.name, engine.name]
        if isinstance(found, str):
            return [engine.title, *["-"] * (len(self.columns) - 1)]
        against = [self._against(engine, found)] if self.scenario.against else []
        return [engine.title, *_cells(found), *against]

    def _against(self, engine: Engine, found: EngineFigures) -> str:
        other = self.results.get((str(self.scenario.against), engine.name))
        return f"{found.nearly_all / other.nearly_all:.0%}" if isinstance(other, EngineFigures) else ""


def _cells(found: EngineFigures) -> list[str]:
    return [
        f"{found.rate:,.1f}" if found.rate < 100 else f"{found.rate:,.0f}",
        "" if found.of_ideal is None or _breaks_order(found) else f"{found.of_ideal:.1%}",
        f"{found.cpu_ms:.3f}",
        f"{found.peak_mb:.0f}",
        f"{found.out_of_order:,}",
        f"{found.duplicates:,}",
        "" if found.lost is None else f"{found.lost:,}",
    ]


def _breaks_order(found: EngineFigures) -> bool:
    """Whether it was faster than any engine that keeps the order of a conversation can be."""
    return found.of_ideal is not None and found.of_ideal > 1.02


def _note(scenario: Workload, found: EngineFigures | str) -> str:
    if isinstance(found, str):
        return found
    if _breaks_order(found):
        return "faster than order allows, since it keeps none"
    if found.capped_s is None:
        return ""
    return f"stopped after {found.capped_s:.0f} s with {found.answered:,.0f} of {scenario.turns:,} turns answered"


def show(console: Console, table: ScenarioTable) -> None:
    """Prints it."""
    drawn = Table(title=f"{table.scenario.name}: {table.scenario.about}", title_justify="left")
    for number, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    for note in table.notes:
        console.print(note, highlight=False)
    console.print()


def markdown(table: ScenarioTable) -> str:
    """The same as a Markdown section."""
    scenario = table.scenario
    spread = "Zipf, s = 1.0" if scenario.zipf else "drawn evenly"
    backlog = (
        f"{scenario.about} {scenario.turns:,} turns of {scenario.conversations:,} conversations ({spread}), "
        f"{scenario.partitions} partition{'s' if scenario.partitions > 1 else ''}; "
        f"steady part from 10% to {scenario.until:.0%} of the turns."
    )
    lines = [
        f"### {scenario.name}",
        "",
        backlog,
        "",
        "| " + " | ".join(table.columns) + " |",
        "|---|" + "---:|" * (len(table.columns) - 1),
        *("| " + " | ".join(row) + " |" for row in table.rows),
    ]
    notes = ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n".join([*lines, *notes])


def write(text: str, document: Path = DOCUMENT) -> None:
    """Puts the text between the markers of the document. Raises ValueError where they are missing."""
    whole = document.read_text()
    if BEGIN not in whole or END not in whole:
        raise ValueError(f"{document.name} needs the markers {BEGIN} and {END}")
    before, rest = whole.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    document.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
