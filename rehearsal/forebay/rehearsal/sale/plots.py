"""The plots of a report, as plotly's figures. Pure: figures in, dictionaries out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .figures import SaleFigures
from .result import SaleResult

_SLICES = 120
"""Points of a line that is counted in slices of the time."""
_MOST_POINTS = 2_000
_COLOURS = ("#2563eb", "#ea580c", "#059669", "#7c3aed", "#db2777", "#64748b")
_DASHES = ("solid", "dot", "dash")
"""Of the first, the second and the third of those that are compared."""
_A_ROW = 2
"""Names of lines that fit beside each other."""
_DONE_TO_IT = "#b91c1c"

Points = Sequence[tuple[float, float]]
Plot = dict[str, Any]


def plots(runs: Sequence[SaleResult]) -> dict[str, Plot]:
    """Title to figure."""
    impatient = [run for run in runs if run.figures.outcome.questions is not None]
    return {
        **({"Customers answered before they left": _plot(runs, _in_time(runs))} if impatient else {}),
        "Offered and answered, turns a second": _plot(runs, _flow(runs)),
        "Waiting, turns": _plot(runs, _waiting(runs)),
        "Latency by the moment of sending, seconds": _plot(runs, _latency(runs)),
        "In flight, and what the workers can take": _plot(runs, _in_flight(runs)),
        "Model calls that failed, a second": _plot(runs, _errors(runs)),
        "Spending by model, USD": _plot(runs, _spending(runs)),
    }


def _flow(runs: Sequence[SaleResult]) -> list[Plot]:
    lines = []
    for number, (figures, *_) in enumerate(runs):
        outcome, width = figures.outcome, _width(figures)
        offered = figures.rate(outcome.sent_at.values(), width)
        answered = figures.rate((answer.replied_at for answer in outcome.answers), width)
        lines += [
            _line("offered", offered, 1, number, outcome.variant),
            _line("answered", answered, 2, number, outcome.variant),
        ]
    return lines


def _in_time(runs: Sequence[SaleResult]) -> list[Plot]:
    lines = []
    for number, (figures, *_) in enumerate(runs):
        answered = sorted(each.answered_at for each in figures.outcome.questions or () if each.answered_at is not None)
        curve = [(at, float(count)) for count, at in enumerate(answered, 1)]
        lines.append(_line("answered in time", curve, number, number, figures.outcome.variant, shape="hv"))
    return lines


def _waiting(runs: Sequence[SaleResult]) -> list[Plot]:
    lines = []
    for number, (figures, prediction, _) in enumerate(runs):
        variant = figures.outcome.variant
        real = list(zip(figures.backlog.times, figures.backlog.waiting, strict=True))
        lines.append(_line("waiting", real, 0, number, variant, shape="hv"))
        if len(runs) == 1:
            best = list(zip(figures.best.times, figures.best.waiting, strict=True))
            lines.append(_line("these workers at their limit", best, 2, number, variant, shape="hv"))
        if prediction is not None:
            lines.append(_line("predicted", prediction.waiting, 5, 1, variant))
    return lines


def _latency(runs: Sequence[SaleResult]) -> list[Plot]:
    return [
        _line(
            name,
            figures.over_time(lambda answer: answer.latency_s, share, _width(figures)),
            colour,
            number,
            figures.outcome.variant,
        )
        for number, (figures, *_) in enumerate(runs)
        for name, share, colour in (("p50", 0.5, 2), ("p95", 0.95, 1), ("p99", 0.99, 4))
        if len(runs) == 1 or share != 0.95
    ]


def _in_flight(runs: Sequence[SaleResult]) -> list[Plot]:
    lines = []
    for number, (figures, *_) in enumerate(runs):
        outcome = figures.outcome
        samples = [(sample.at, float(sample.in_flight)) for sample in outcome.samples]
        able = [(change.at, float(change.servers)) for change in outcome.capacity]
        able.append((figures.ended_at, able[-1][1] if able else 0.0))
        lines += [
            _line("in flight", samples, 0, number, outcome.variant),
            _line("workers x concurrency", able, 5, number, outcome.variant, shape="hv"),
        ]
    return lines


def _errors(runs: Sequence[SaleResult]) -> list[Plot]:
    lines = []
    for number, (figures, *_) in enumerate(runs):
        samples, outcome = figures.outcome.samples, figures.outcome
        failed = [
            (later.at, (later.failed_calls - earlier.failed_calls) / (later.at - earlier.at))
            for earlier, later in zip(samples[::4], samples[4::4], strict=False)
            if later.at > earlier.at
        ]
        bad = figures.rate(
            (a.replied_at for a in outcome.answers if a.outcome in ("failed", "expired")), _width(figures)
        )
        lines += [
            _line("calls refused or failed", failed, 1, number, outcome.variant),
            _line("turns failed or expired", bad, 4, number, outcome.variant),
        ]
    return lines


def _spending(runs: Sequence[SaleResult]) -> list[Plot]:
    return [
        _line(model, spent, colour, number, figures.outcome.variant, shape="hv")
        for number, (figures, *_) in enumerate(runs)
        for colour, (model, spent) in enumerate(figures.spending().items())
    ]


def _width(figures: SaleFigures) -> float:
    return max(0.5, figures.ended_at / _SLICES)


def _line(
    name: str, points: Iterable[tuple[float, float]], colour: int, number: int, variant: str, shape: str = "linear"
) -> Plot:
    thin = _thinned(list(points))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{name}, {variant}" if variant else name,
        "x": [round(at, 2) for at, _ in thin],
        "y": [round(value, 4) for _, value in thin],
        "line": {
            "color": _COLOURS[colour % len(_COLOURS)],
            "width": 1.6,
            "shape": shape,
            "dash": _DASHES[number % len(_DASHES)],
        },
    }


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many: of each stretch the highest, so that no peak is lost."""
    step = len(points) // _MOST_POINTS + 1
    if step == 1:
        return points
    return [max(points[n : n + step], key=lambda point: point[1]) for n in range(0, len(points), step)] + points[-1:]


def _plot(runs: Sequence[SaleResult], lines: list[Plot]) -> Plot:
    happenings = runs[0].figures.outcome.happenings
    return {
        "data": lines,
        "layout": {
            "height": 290 + 19 * -(-len(lines) // _A_ROW),
            "margin": {"l": 48, "r": 12, "t": 12 + 19 * -(-len(lines) // _A_ROW), "b": 36},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#334155"},
            "hovermode": "x unified",
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
            "xaxis": {"title": {"text": "seconds"}, "gridcolor": "#e2e8f0", "zeroline": False},
            "yaxis": {"gridcolor": "#e2e8f0", "rangemode": "tozero", "zeroline": False},
            "shapes": [
                {
                    "type": "line",
                    "x0": happening.at,
                    "x1": happening.at,
                    "yref": "paper",
                    "y0": 0,
                    "y1": 1,
                    "line": {"color": _DONE_TO_IT, "width": 1, "dash": "dot"},
                    "opacity": 0.35,
                }
                for happening in happenings[:200]
            ],
        },
    }
