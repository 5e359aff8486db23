"""The report of a rehearsal: one HTML file that needs nothing else, to keep with the release it let through."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .figure import FIGURES, label, shown
from .observations import Happening
from .plots import Plot, plots
from .result import RehearsalResult, SaleResult
from .targets import Judged

_STYLE = """
:root { --ink: #0f172a; --soft: #64748b; --line: #e2e8f0; --good: #047857; --bad: #b91c1c; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 20px 60px; color: var(--ink); background: #f8fafc;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", "PingFang SC", sans-serif; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 15px; margin: 28px 0 8px; }
p { margin: 4px 0; color: var(--soft); }
.verdict { border-left: 6px solid; border-radius: 8px; background: white; padding: 14px 18px; }
.kept { border-color: var(--good); } .missed { border-color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px; margin-top: 14px; }
.card { background: white; border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
.card b { display: block; font-size: 20px; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 12px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(460px, 1fr)); gap: 14px; }
.plot, .box { background: white; border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; min-width: 0; }
.plot h3 { font-size: 13px; margin: 0 0 4px; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; } .soft { color: var(--soft); }
pre { white-space: pre-wrap; margin: 0; font-size: 12px; color: #334155; }
@media (max-width: 560px) { .plots { grid-template-columns: 1fr; } }
@media print { body { background: white; } .plot { break-inside: avoid; } }
"""
_CARDS = (
    "total",
    "succeeded",
    "latency_p50_s",
    "latency_p99_s",
    "peak_waiting",
    "peak_pods",
    "drain_ratio",
    "cost_usd",
)


def report(result: RehearsalResult) -> str:
    """The whole document. Raises ImportError without plotly."""
    from plotly.offline import get_plotlyjs

    runs, judged = result.runs, result.judged
    held_at = f"{result.held_at:%Y-%m-%d %H:%M} UTC"
    scenario = runs[0].figures.outcome.scenario
    missed = [each for each in judged if not each.met]
    body = [
        _verdict(scenario.name, held_at, judged, missed),
        _cards(runs[-1]),
        _plots(plots(runs)),
        _targets(judged),
        *(_prediction(run) for run in runs if run.prediction is not None),
        _figures(runs),
        *(_happenings(run.figures.outcome.happenings, run.variant) for run in runs),
        f"<h2>Scenario</h2><div class=box><pre>{escape(_scenario(runs))}</pre></div>",
    ]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Rehearsal: {escape(scenario.name)}</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script><body>{''.join(body)}</body></html>\n"
    )


def _verdict(name: str, held_at: str, judged: Sequence[Judged], missed: Sequence[Judged]) -> str:
    if missed:
        said = f"{len(missed)} of {len(judged)} targets missed: {', '.join(each.name for each in missed)}"
    else:
        said = f"All {len(judged)} targets met, and every promise kept"
    return (
        f"<div class='verdict {'missed' if missed else 'kept'}'><h1>{escape(said)}</h1>"
        f"<p>Rehearsal of {escape(name)}, {escape(held_at)}</p></div>"
    )


def _cards(run: SaleResult) -> str:
    table = run.table()
    cards = "".join(
        f"<div class=card><b>{escape(shown(name, table[name]))}</b><span>{_label(name)}</span></div>" for name in _CARDS
    )
    return f"<div class=cards>{cards}</div>"


def _plots(figures: dict[str, Plot]) -> str:
    from plotly.io import to_html

    boxes = "".join(
        f"<div class=plot><h3>{escape(title)}</h3>"
        + to_html(
            figure,
            include_plotlyjs=False,
            full_html=False,
            validate=False,
            config={"displaylogo": False, "responsive": True},
        )
        + "</div>"
        for title, figure in figures.items()
    )
    return f"<h2>Over time</h2><div class=plots>{boxes}</div>"


def _targets(judged: Sequence[Judged]) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.variant)} {_label(each.name)}<td class=n>{escape(str(each.bound))}"
        f"<td class=n>{escape(shown(each.name, each.value))}"
        f"<td class={'good' if each.met else 'bad'}>{'met' if each.met else 'missed'}"
        for each in judged
    )
    heads = "<tr><th>figure<th class=n>target<th class=n>measured<th>"
    return f"<h2>Targets</h2><div class=box><table>{heads}{rows}</table></div>"


def _prediction(run: SaleResult) -> str:
    assert run.prediction is not None
    rows = "".join(
        f"<tr><td>{_label(each.name)}<td class=n>{escape(shown(each.name, each.predicted))}"
        f"<td class=n>{escape(shown(each.name, each.measured))}<td class=n>{each.error:.0%}"
        for each in run.prediction.compared
    )
    return (
        f"<h2>As <code>forebay plan</code> predicts it {escape(run.variant)}</h2><div class=box><table>"
        f"<tr><th>figure<th class=n>predicted<th class=n>measured<th class=n>off by{rows}</table></div>"
    )


def _figures(runs: Sequence[SaleResult]) -> str:
    tables = [run.table() for run in runs]
    heads = "".join(f"<th class=n>{escape(run.variant or 'measured')}" for run in runs)
    rows = "".join(
        f"<tr><td>{_label(name)}"
        + "".join(f"<td class=n>{escape(shown(name, table[name]))}" for table in tables)
        + f"<td class=soft>{escape(FIGURES[name].meaning)}"
        for name in FIGURES
        if any(table[name] is not None for table in tables)
    )
    return f"<h2>Figures</h2><div class=box><table><tr><th>{heads}<th>{rows}</table></div>"


def _happenings(happenings: Sequence[Happening], variant: str) -> str:
    if not happenings:
        return ""
    rows = "".join(f"<tr><td class=n>{each.at:.1f} s<td>{escape(each.what)}" for each in happenings)
    return f"<h2>What happened {escape(variant)}</h2><div class=box><table>{rows}</table></div>"


def _scenario(runs: Sequence[SaleResult]) -> str:
    import yaml

    return str(
        yaml.safe_dump(
            runs[-1].figures.outcome.scenario.model_dump(mode="json", exclude_defaults=True) or {"name": "sale"},
            sort_keys=False,
            allow_unicode=True,
        )
    )


def _label(name: str) -> str:
    return escape(label(name))
