"""Figures by name: what a rehearsal measures, and what targets can be set on."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One of them, as people read it."""

    name: str
    unit: str
    """``""`` for a count or a share."""
    meaning: str


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("total", "turns", "sent"),
        Figure("succeeded", "turns", "answered, by a model, a tool or the FAQ"),
        Figure("failed", "turns", "given up, or refused by the model"),
        Figure("expired", "turns", "waited beyond their deadline"),
        Figure("handed_off", "turns", "went to a person"),
        Figure("merged", "turns", "answered together with a later one of their conversation"),
        Figure("cancelled", "turns", "taken back by customers who left"),
        Figure("success_share", "", "of the turns not cancelled, those that were answered or went to a person"),
        Figure("customers", "", "who asked and would not wait for ever"),
        Figure("in_time", "", "of them, those who had an answer before they left"),
        Figure("in_time_share", "", "of all customers, those who had an answer before they left"),
        Figure("in_time_of_plain", "", "so many times the customers whom a plain service answered in time"),
        Figure("calls_an_answer", "", "model calls that the provider took, for each customer answered in time"),
        Figure("calls_for_nobody", "calls", "beyond one for each customer who was answered in time"),
        Figure("lost", "turns", "without any reply, or merged into one that has none"),
        Figure("out_of_order", "turns", "answered before an earlier one of their conversation"),
        Figure("duplicates", "turns", "with two different replies"),
        Figure("forgotten", "turns", "answered by a model that was not shown all that was said"),
        Figure("repeats", "replies", "published again after a crash, byte for byte the same"),
        Figure("turns_a_second", "1/s", "on average, from the first turn to the last reply"),
        Figure("latency_avg_s", "s", "from sending a turn to reading its reply"),
        Figure("latency_p50_s", "s", "half of the turns took less"),
        Figure("latency_p95_s", "s", "19 of 20 took less"),
        Figure("latency_p99_s", "s", "99 of 100 took less"),
        Figure("waited_p50_s", "s", "before a turn's answer began"),
        Figure("waited_p95_s", "s", "19 of 20 waited less"),
        Figure("waited_p99_s", "s", "99 of 100 waited less"),
        Figure("first_word_p50_s", "s", "from sending a turn to the first words of its streamed reply"),
        Figure("first_word_p99_s", "s", "99 of 100 saw a first word sooner"),
        Figure("model_p50_s", "s", "in the models"),
        Figure("model_p99_s", "s", "99 of 100 were shorter in the models"),
        Figure("peak_waiting", "turns", "most that waited at once"),
        Figure("peak_in_flight", "calls", "most model calls under way at once"),
        Figure("peak_pods", "pods", "most that took turns at once"),
        Figure("drained_at_s", "s", "when the queue was gone, after the start"),
        Figure("drain_ratio", "", "how much longer the queue took than these workers at their limit: 1 is ideal"),
        Figure("rebalance_loss_s", "s", "throughput lost at the worst change of a fleet that had work waiting"),
        Figure("rebalances", "", "changes of the fleet under load, over which that was measured"),
        Figure("model_calls", "calls", "made"),
        Figure("model_calls_taken", "calls", "of them that the provider did not refuse at once"),
        Figure("model_calls_failed", "calls", "of them refused, broken off or failed"),
        Figure("input_tokens", "tokens", "read by models"),
        Figure("output_tokens", "tokens", "written by models"),
        Figure("cost_usd", "$", "as the replies say"),
        Figure("cost_usd_a_thousand", "$", "for a thousand turns"),
        Figure("bad_ends", "workers", "that did not end in order when they were told to"),
        Figure("late_p99_s", "s", "how late the load itself sent: above 0.1 this machine was too busy for the figures"),
        Figure("prediction_error", "", "how far the plan's simulation was off, at its worst figure"),
        Figure("start_s", "s", "from the start of a worker's process until it took turns"),
    )
}


def label(name: str) -> str:
    """A figure's name as people read it."""
    return name.removesuffix("_s").removesuffix("_usd").replace("_", " ")


def shown(name: str, value: float | None) -> str:
    """A figure as people read it."""
    unit = FIGURES[name].unit
    if value is None:
        return "-"
    if unit == "$":
        return f"${value:,.4f}" if value < 1 else f"${value:,.2f}"
    if name in ("success_share", "in_time_share"):
        return f"{value:.2%}"
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}{_suffix(unit)}"
    return f"{value:,.3g}{_suffix(unit)}" if value < 100 else f"{value:,.0f}{_suffix(unit)}"


def _suffix(unit: str) -> str:
    return {"s": " s", "1/s": "/s"}.get(unit, "")
