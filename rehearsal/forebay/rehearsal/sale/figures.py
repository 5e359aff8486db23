"""The figures of a rehearsal, by name: what targets are set on, what the report and ``--json`` show. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from forebay.rehearsal.delivery_check import Answer
from forebay.telemetry.percentile import percentile

from .observations import Observations
from .waiting_curve import Capacity, WaitingCurve, drain_ratio, ideal, lost_throughput_s

_BEFORE_S, _AFTER_S = 4.0, 8.0
"""Throughput before a change of the fleet is taken over so long, and its loss is sought for so long after it."""
_OTHERS = ("failed", "expired", "handed_off", "merged", "cancelled")
_SATURATED = 0.5
"""Share of a fleet's servers that wait: with fewer turns waiting, fewer replies may be no loss at all."""


@dataclass(frozen=True)
class SaleFigures:
    """Computed when asked for. Times in seconds, money in USD."""

    outcome: Observations

    @cached_property
    def table(self) -> Mapping[str, float | None]:
        """Every figure by its name; None where there was nothing to measure."""
        outcome, answers, verdict = self.outcome, self.outcome.answers, self.outcome.verdict
        by_outcome = {name: sum(a.outcome == name for a in answers) for name in _OTHERS}
        wanted = [answer for answer in answers if answer.outcome != "cancelled"]
        latency = sorted(answer.latency_s for answer in wanted)
        waited = sorted(answer.waited_s for answer in wanted)
        model = sorted(answer.model_s for answer in answers if answer.model_s)
        words = sorted(outcome.first_words_s.values())
        losses = self.rebalance_losses_s
        kept = verdict.answered + by_outcome["handed_off"] + by_outcome["merged"]
        asked = verdict.sent - by_outcome["cancelled"]
        cost = sum(answer.cost_usd for answer in answers)
        return {
            "total": verdict.sent,
            "succeeded": verdict.answered,
            **by_outcome,
            "success_share": kept / asked if asked else None,
            **self._customers,
            "lost": verdict.lost,
            "out_of_order": verdict.out_of_order,
            "duplicates": verdict.duplicates,
            "forgotten": verdict.forgotten,
            "repeats": verdict.repeats,
            "turns_a_second": len(answers) / max(1e-9, self.ended_at - self.first_at) if answers else None,
            "latency_avg_s": sum(latency) / len(latency) if latency else None,
            **_percentiles("latency", latency, (50, 95, 99)),
            **_percentiles("waited", waited, (50, 95, 99)),
            **_percentiles("first_word", words, (50, 99)),
            **_percentiles("model", model, (50, 99)),
            "peak_waiting": self.backlog.peak,
            "peak_in_flight": max((sample.in_flight for sample in outcome.samples), default=0),
            "peak_pods": max((sample.ready for sample in outcome.samples), default=0),
            "drained_at_s": self.backlog.drained_at,
            "drain_ratio": drain_ratio(self.backlog, self.best, max(able.servers for able in outcome.capacity)),
            "rebalance_loss_s": max(losses, default=None),
            "rebalances": len(losses),
            "model_calls": outcome.calls,
            "model_calls_taken": outcome.taken or None,
            "model_calls_failed": outcome.samples[-1].failed_calls if outcome.samples else 0,
            "input_tokens": sum(answer.usage.input_tokens for answer in answers),
            "output_tokens": sum(answer.usage.output_tokens for answer in answers),
            "cost_usd": cost,
            "cost_usd_a_thousand": cost / len(answers) * 1000 if answers else None,
            "bad_ends": len(outcome.bad_ends),
            "late_p99_s": percentile(list(outcome.late_s) or [0.0], 0.99),
            "start_s": outcome.start_s,
        }

    @property
    def _customers(self) -> dict[str, float | None]:
        """Of those who do not wait for ever."""
        questions, taken = self.outcome.questions, self.outcome.taken
        if questions is None:
            return dict.fromkeys(("customers", "in_time", "in_time_share", "calls_an_answer", "calls_for_nobody"))
        in_time = sum(question.answered_at is not None for question in questions)
        return {
            "customers": len(questions),
            "in_time": in_time,
            "in_time_share": in_time / len(questions) if questions else None,
            "calls_an_answer": taken / in_time if taken and in_time else None,
            "calls_for_nobody": max(0, taken - in_time) if taken else None,
        }

    @property
    def first_at(self) -> float:
        """When the first turn was sent."""
        return min(self.outcome.sent_at.values(), default=0.0)

    @property
    def ended_at(self) -> float:
        """When the last reply was read."""
        return max((answer.replied_at for answer in self.outcome.answers), default=self.outcome.traffic.ends_s)

    @cached_property
    def backlog(self) -> WaitingCurve:
        """Turns that waited, over time."""
        return WaitingCurve.of(self.outcome.sent_at.values(), [answer.began_at for answer in self.outcome.answers])

    @cached_property
    def best(self) -> WaitingCurve:
        """The queue, had these workers done nothing but call models."""
        turns = sorted((a.sent_at, a.model_s) for a in self.outcome.answers)
        return ideal([at for at, _ in turns], [service for _, service in turns], self.outcome.capacity)

    @cached_property
    def rebalance_losses_s(self) -> tuple[float, ...]:
        """Seconds of throughput lost at each change of the fleet that found all servers taken and more turns waiting."""
        replied = sorted(answer.replied_at for answer in self.outcome.answers)
        return tuple(
            lost_throughput_s(replied, change.at, before_s=_BEFORE_S, after_s=_AFTER_S)
            for earlier, change in pairwise(self.outcome.capacity)
            if self._loaded(earlier, change)
        )

    def _loaded(self, earlier: Capacity, change: Capacity) -> bool:
        """Whether work was waiting around it throughout; a fleet that shrinks loses throughput by being smaller."""
        moments = (change.at - _BEFORE_S, change.at, change.at + _AFTER_S)
        least = _SATURATED * earlier.servers
        return change.servers > earlier.servers > 0 and all(self.backlog.at(moment) > least for moment in moments)

    def spending(self) -> dict[str, list[tuple[float, float]]]:
        """USD spent so far, by model, over time."""
        spent: dict[str, list[tuple[float, float]]] = {}
        for answer in sorted(self.outcome.answers, key=lambda answer: answer.replied_at):
            if answer.model is not None:
                line = spent.setdefault(answer.model, [(0.0, 0.0)])
                line.append((answer.replied_at, line[-1][1] + answer.cost_usd))
        return spent

    def rate(self, moments: Iterable[float], width_s: float) -> list[tuple[float, float]]:
        """(time, a second) of moments, in slices of this width."""
        counts: dict[int, int] = {}
        for moment in moments:
            counts[int(moment / width_s)] = counts.get(int(moment / width_s), 0) + 1
        last = int(self.ended_at / width_s)
        return [((place + 0.5) * width_s, counts.get(place, 0) / width_s) for place in range(last + 1)]

    def over_time(self, value: Callable[[Answer], float], share: float, width_s: float) -> list[tuple[float, float]]:
        """(time, percentile) of the turns that were sent in slices of this width."""
        slices: dict[int, list[float]] = {}
        for answer in self.outcome.answers:
            slices.setdefault(int(answer.sent_at / width_s), []).append(value(answer))
        return [((place + 0.5) * width_s, percentile(values, share)) for place, values in sorted(slices.items())]


def _percentiles(name: str, ascending: Sequence[float], shares: Iterable[int]) -> dict[str, float | None]:
    values = list(ascending)
    return {f"{name}_p{share}_s": percentile(values, share / 100) if values else None for share in shares}
