"""From what was seen to the figures of a table; nothing here touches Kafka or a process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any

from .measured_process import ProcessSample
from .replies import Replies
from .workloads import Workload

START_SHARE = 0.1
NEARLY_ALL = 0.97


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """One run, or the medians of several."""

    rate: float
    """Turns per second in the steady part: from 10% to the scenario's `until` of the turns."""

    whole: float
    """Turns per second from the first reply to the last."""

    nearly_all: float
    """Turns per second from the first reply until 97% of the turns are answered."""

    of_ideal: float | None
    """Share of the ideal engine's rate over the same turns (of a run cut short: from the first); None without calls."""

    cpu_ms: float
    """CPU time per turn in the steady part, milliseconds, user and system."""

    peak_mb: float
    """Largest resident memory seen, MB (10^6 bytes), start-up included."""

    out_of_order: int
    """Replies after the reply to a later turn of their conversation."""

    duplicates: int
    """Replies beyond the first of a turn."""

    lost: int | None
    """Turns without a reply; None when the run was cut short."""

    answered: int
    """Turns with a reply."""

    capped_s: float | None
    """Seconds after which the run was cut short; None when it was not."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything seen in one run."""

    scenario: Workload
    replies: Replies
    samples: Sequence[ProcessSample]
    ideal: Sequence[float]
    started_at: float
    """Unix time the process began, seconds."""
    ended_at: float
    """Unix time it was stopped, seconds."""
    capped: bool
    """Stopped by the cap, not because it was done."""


def figures(seen: Observation) -> EngineFigures:
    """The figures of one run."""
    times = sorted(seen.replies.times)
    if len(times) < 2:
        raise ValueError("fewer than two replies")
    first, last, low, high = _steady(seen, times)
    seconds = high - low
    answered = last - first
    cpu = _cpu_at(seen.samples, high) - _cpu_at(seen.samples, low)
    return EngineFigures(
        rate=answered / seconds,
        whole=_rate_to(seen, times, len(times)),
        nearly_all=_rate_to(seen, times, round(NEARLY_ALL * seen.scenario.turns)),
        of_ideal=_of_ideal(seen, times, first, last, seconds),
        cpu_ms=cpu * 1000.0 / answered,
        peak_mb=max(sample.rss_bytes for sample in seen.samples) / 1e6,
        out_of_order=seen.replies.out_of_order,
        duplicates=seen.replies.duplicates,
        lost=None if seen.capped else seen.scenario.turns - seen.replies.answered,
        answered=seen.replies.answered,
        capped_s=seen.ended_at - seen.started_at if seen.capped else None,
    )


def _steady(seen: Observation, times: list[float]) -> tuple[int, int, float, float]:
    """First and last reply of the steady part and their times; a run cut short of it counts to its cut."""
    last = round(seen.scenario.until * seen.scenario.turns)
    if len(times) >= last:
        first = round(START_SHARE * seen.scenario.turns)
        return first, last, times[first - 1], times[last - 1]
    first = max(1, round(START_SHARE * len(times)))
    return first, len(times), times[first - 1], seen.ended_at


def _rate_to(seen: Observation, times: list[float], count: int) -> float:
    """Turns per second from the first reply to this one, or to the end of a run that did not reach it."""
    if count <= len(times) and not (seen.capped and count == len(times)):
        return (count - 1) / max(times[count - 1] - times[0], 1e-3)
    return (len(times) - 1) / (seen.ended_at - times[0])


def _of_ideal(seen: Observation, times: list[float], first: int, last: int, seconds: float) -> float | None:
    if not seen.ideal:
        return None
    end = round(seen.scenario.until * seen.scenario.turns)
    if len(times) >= end:
        return (seen.ideal[last - 1] - seen.ideal[first - 1]) / seconds
    elapsed = seen.ended_at - times[0]
    possible = min(end, bisect_right(seen.ideal, elapsed))
    return (len(times) / elapsed) / (possible / min(elapsed, seen.ideal[end - 1]))


def _cpu_at(samples: Sequence[ProcessSample], at: float) -> float:
    """CPU seconds used by this moment, between the samples around it."""
    after = bisect_right([sample.at for sample in samples], at)
    if after == 0:
        return samples[0].cpu_s
    if after == len(samples):
        return samples[-1].cpu_s
    left, right = samples[after - 1], samples[after]
    return left.cpu_s + (right.cpu_s - left.cpu_s) * (at - left.at) / (right.at - left.at)


def medians(runs: Sequence[EngineFigures]) -> EngineFigures:
    """The medians of rates and costs; the worst of the counts that should be zero."""
    worst = {"out_of_order", "duplicates", "lost"}
    merged: dict[str, Any] = {}
    for figure in fields(EngineFigures):
        values = [value for run in runs if (value := getattr(run, figure.name)) is not None]
        choose = max if figure.name in worst else median
        merged[figure.name] = choose(values) if values else None
    return EngineFigures(**merged)
