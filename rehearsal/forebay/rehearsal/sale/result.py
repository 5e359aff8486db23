"""A rehearsal that was held: one sale, or two that are compared, and whether its targets were met. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from .figures import SaleFigures
from .prediction import Prediction
from .targets import Judged, judge


class SaleResult(NamedTuple):
    """One rehearsal of a report."""

    figures: SaleFigures
    prediction: Prediction | None = None
    plain: SaleFigures | None = None
    """Of a plain service that had the same customers."""

    @property
    def variant(self) -> str:
        """What it is, where two are compared."""
        return self.figures.outcome.variant

    def table(self) -> dict[str, float | None]:
        """Every figure by its name, how well it was predicted among them."""
        table = self.figures.table
        in_time, of_plain = table["in_time"], None if self.plain is None else self.plain.table["in_time"]
        return {
            **table,
            "prediction_error": None if self.prediction is None else self.prediction.worst,
            "in_time_of_plain": in_time / of_plain if in_time is not None and of_plain else None,
        }


def beside_plain(runs: Sequence[SaleResult]) -> list[SaleResult]:
    """Puts each run beside the one of a plain service, where there is one."""
    plain = next((run.figures for run in runs if run.figures.outcome.scenario.service == "plain"), None)
    return [run if run.figures is plain else run._replace(plain=plain) for run in runs]


@dataclass(frozen=True, slots=True)
class RehearsalResult:
    """What came of it."""

    runs: Sequence[SaleResult]
    held_at: datetime

    @property
    def judged(self) -> tuple[Judged, ...]:
        """The promises in every run, and the targets in the last, which is the one that is meant to be."""
        *others, last = self.runs
        of_others = [each for run in others for each in judge(run.table(), {}, run.variant)]
        return (*of_others, *judge(last.table(), last.figures.outcome.scenario.targets, last.variant))

    @property
    def passed(self) -> bool:
        """Whether every promise was kept and every target met."""
        return all(each.met for each in self.judged)

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {
            "passed": self.passed,
            "held_at": self.held_at.isoformat(timespec="seconds"),
            "targets": [
                {
                    "variant": each.variant,
                    "figure": each.name,
                    "target": str(each.bound),
                    "measured": each.value,
                    "met": each.met,
                }
                for each in self.judged
            ],
            "runs": [
                {
                    "variant": run.variant,
                    "figures": run.table(),
                    "rebalance_losses_s": run.figures.rebalance_losses_s,
                    "prediction": [each._asdict() for each in run.prediction.compared] if run.prediction else None,
                    "happenings": [each._asdict() for each in run.figures.outcome.happenings],
                }
                for run in self.runs
            ],
            "scenario": self.runs[-1].figures.outcome.scenario.model_dump(mode="json"),
        }
