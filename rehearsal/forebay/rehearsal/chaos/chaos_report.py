"""The outcomes as rows, on a terminal and in docs/reliability.md. Pure but for `write`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from .chaos_run import ChaosOutcome
from .worker_kinds import WorkerKind

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"

Rows = list[list[str]]

_SEED_COLUMNS = (
    "seed",
    "turns",
    "given up",
    "lost",
    "two answers",
    "out of order",
    "no past",
    "again: killed",
    "stopped",
    "handed over",
    "answered",
    "repeats",
    "dead letters",
    "ended",
    "s",
)
_ENGINE_COLUMNS = (
    "engine",
    "seeds",
    "turns",
    "lost",
    "two answers",
    "out of order",
    "given up",
    "again: in flight",
    "again: answered",
    "ended",
    "s",
)


def seed_rows(outcomes: Sequence[ChaosOutcome]) -> Rows:
    """One row a seed."""
    return [[str(outcome.rehearsal.seed), *_seed_cells(outcome)] for outcome in outcomes]


def engine_rows(found: Sequence[tuple[WorkerKind, Sequence[ChaosOutcome]]]) -> Rows:
    """One row an engine, its seeds added up; seconds are those of the longest run."""
    return [[engine.title, *_engine_cells(outcomes)] for engine, outcomes in found if outcomes]


def seed_table(engine: WorkerKind, outcomes: Sequence[ChaosOutcome]) -> Table:
    """What became of each seed."""
    return _drawn(engine.title, _SEED_COLUMNS, seed_rows(outcomes))


def engine_table(found: Sequence[tuple[WorkerKind, Sequence[ChaosOutcome]]]) -> Table:
    """The engines side by side."""
    return _drawn("side by side", _ENGINE_COLUMNS, engine_rows(found))


def markdown(
    found: Sequence[tuple[WorkerKind, Sequence[ChaosOutcome]]], missing: Sequence[tuple[WorkerKind, str]]
) -> str:
    """Both tables for a document, and why an engine has no row."""
    sections = [_markdown_table(_ENGINE_COLUMNS, engine_rows(found))]
    sections += [f"{engine.title}: {reason}." for engine, reason in missing]
    for engine, outcomes in found:
        if engine.judged and outcomes:
            sections += [f"### {engine.title}, seed by seed", _markdown_table(_SEED_COLUMNS, seed_rows(outcomes))]
    return "\n\n".join(sections)


def write(text: str, document: Path) -> None:
    """Puts the text between the markers of the document. Raises ValueError where they are missing."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{document} needs the markers {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _seed_cells(outcome: ChaosOutcome) -> list[str]:
    counts = outcome.counts
    due = counts.poison + counts.given_up
    return [
        f"{counts.turns:,}",
        *map(str, (counts.given_up, counts.lost, counts.conflicting, counts.out_of_order, counts.forgotten)),
        f"{counts.extra_after_kill} of {counts.in_flight}",
        *map(str, (counts.extra_after_stop, counts.extra_handed_over, counts.extra_after_reply, counts.repeats)),
        f"{due - counts.unburied} of {due}",
        str(outcome.ended_by_themselves),
        f"{outcome.seconds:.0f}",
    ]


def _engine_cells(outcomes: Sequence[ChaosOutcome]) -> list[str]:
    every = [outcome.counts for outcome in outcomes]
    totals = (
        sum(counts.turns for counts in every),
        sum(counts.lost for counts in every),
        sum(counts.conflicting for counts in every),
        sum(counts.out_of_order for counts in every),
        sum(counts.given_up for counts in every),
        sum(counts.extra_calls - counts.extra_after_reply for counts in every),
        sum(counts.extra_after_reply for counts in every),
        sum(outcome.ended_by_themselves for outcome in outcomes),
    )
    longest = max(outcome.seconds for outcome in outcomes)
    return [str(len(outcomes)), *(f"{total:,}" for total in totals), f"{longest:.0f}"]


def _drawn(title: str, columns: Sequence[str], rows: Rows) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _markdown_table(columns: Sequence[str], rows: Rows) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
